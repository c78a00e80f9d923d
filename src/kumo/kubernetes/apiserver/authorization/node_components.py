"""What a node's components may not do though a role says that their user may: what is other nodes' affair.

It is about requests that name what they are for; what can only be seen in the objects is the admission step's
(`admission.node_components`). A component that acts for no node, beside a control plane, is not narrowed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kumo.api.node_components import CSI_USER, DNS_NAMESPACE, DNS_SERVICE, DNS_USER, INGRESS_USER, VIRT_USER
from kumo.api.node_slices import slice_name
from kumo.api.objects import Object
from kumo.api.resources import GVR
from kumo.kubernetes.apiserver.attributes import Reader, RequestInfo
from kumo.kubernetes.apiserver.authorization import node_ingress

INSTANCES = GVR("kubevirt.io", "v1", "virtualmachineinstances")
_WRITES = ("create", "update", "patch", "delete", "deletecollection")
_Judge = Callable[[str, RequestInfo], str]


def nodes_of(instance: Object) -> tuple[str, ...]:
    """The nodes that a virtual machine instance concerns: where it is, and where it is on its way to."""
    status = instance.get("status") or {}
    found = (status.get("nodeName"), (status.get("migrationState") or {}).get("targetNode"))
    return tuple(str(name) for name in found if name)


def secrets_of(instance: Object) -> Iterator[str]:
    """The names of the Secrets of its namespace that an instance gives to its guest."""
    spec = instance.get("spec") or {}
    for volume in spec.get("volumes") or ():
        for kind in ("cloudInitNoCloud", "cloudInitConfigDrive"):
            for field in ("secretRef", "networkDataSecretRef"):
                yield str(((volume.get(kind) or {}).get(field) or {}).get("name") or "")
    for credential in spec.get("accessCredentials") or ():
        for kind in ("sshPublicKey", "userPassword"):
            source = (credential.get(kind) or {}).get("source") or {}
            yield str((source.get("secret") or {}).get("secretName") or "")


class NodeComponents:
    """Judges requests of a node's components that RBAC allows."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._judges: dict[tuple[str, str, str], _Judge] = {
            (VIRT_USER, "", "secrets"): self._secret,
            (VIRT_USER, "kubevirt.io", "virtualmachineinstances"): self._instance,
            (VIRT_USER, "", "nodes"): _own_node,
            (DNS_USER, "", "nodes"): _own_node,
            (DNS_USER, "", "services"): _dns_service,
            (DNS_USER, "discovery.k8s.io", "endpointslices"): _dns_slice,
            (CSI_USER, "", "secrets"): _no_secrets,
        }

    def refusal(self, user: str, node: str, info: RequestInfo) -> str:
        """Why the user may not do this for the node; empty if he may."""
        if user == INGRESS_USER:
            return node_ingress.refusal(self._reader, node, info)
        judge = self._judges.get((user, info.group, info.resource))
        return judge(node, info) if judge is not None else ""

    def _secret(self, node: str, info: RequestInfo) -> str:
        if info.verb != "get" or not info.name:
            return "can only get individual secrets of virtual machine instances on its node"
        for instance in self._reader.objects(INSTANCES, info.namespace):
            if node in nodes_of(instance) and info.name in secrets_of(instance):
                return ""
        return f"no relationship found between node '{node}' and this object"

    def _instance(self, node: str, info: RequestInfo) -> str:
        if info.verb not in _WRITES:
            return ""
        found = self._reader.get(INSTANCES, info.name, info.namespace) if info.name else None
        if found is None or node in nodes_of(found):
            return ""  # What is not there is answered with 404.
        return f"node '{node}' can only change virtual machine instances that are on it"


def _own_node(node: str, info: RequestInfo) -> str:
    return "" if info.name == node else f"node '{node}' can only read and change its own Node object"


def _dns_service(node: str, info: RequestInfo) -> str:
    if info.verb in _WRITES and info.verb != "create":
        return f"node '{node}' can only make the Service {DNS_SERVICE}, not change it"
    return ""


def _dns_slice(node: str, info: RequestInfo) -> str:
    own = slice_name(DNS_SERVICE, node)
    if info.verb in _WRITES and info.verb != "create" and (info.namespace, info.name) != (DNS_NAMESPACE, own):
        return f"node '{node}' can only change the endpoints of its own server: {DNS_NAMESPACE}/{own}"
    return ""


def _no_secrets(node: str, info: RequestInfo) -> str:
    return f"node '{node}' reads no secrets for its volumes"
