"""Where a request to a pod, service or node goes, and the refusals when it can't. Pure but for the cache it reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from kumo.api.errors import StatusError, bad_request, not_found, unavailable
from kumo.api.objects import Object, labels_of, name_of
from kumo.api.resources import ENDPOINTSLICES, NODES, PODS, SERVICES
from kumo.kubernetes.apiserver.attributes import Reader

KUBELET_PORT = 10250


class Address(NamedTuple):
    """Where to connect: scheme, host, port."""

    scheme: str
    host: str
    port: int

    @property
    def url(self) -> str:
        """The base of a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Named:
    """`[scheme:]name[:port]` as the proxy paths have it (upstream's `SplitSchemeNamePort`)."""

    scheme: str
    name: str
    port: str


def split_name(text: str) -> Named:
    """The parts of a proxy path's name. Raises 400 for another form."""
    parts = text.split(":")
    if len(parts) == 1:
        return Named("", parts[0], "")
    if len(parts) == 2:
        return Named("", parts[0], parts[1])
    if len(parts) == 3 and parts[0] in ("", "http", "https"):
        return Named(parts[0], parts[1], parts[2])
    raise bad_request(f'invalid request "{text}"')


def pod_of(reader: Reader, namespace: str, name: str) -> Object:
    """The pod. Raises 404."""
    pod = reader.get(PODS, name, namespace)
    if pod is None:
        raise not_found("", "pods", name)
    return pod


def node_address(reader: Reader, name: str) -> Address:
    """Where the node's listener is. Raises 404 for a missing node, 500 for one without address."""
    node = reader.get(NODES, name)
    if node is None:
        raise not_found("", "nodes", name)
    status = node.get("status") or {}
    addresses = status.get("addresses") or []
    for kind in ("InternalIP", "Hostname", "ExternalIP"):
        for address in addresses:
            if address.get("type") == kind:
                port = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port")
                return Address("https", address["address"], int(port or KUBELET_PORT))
    known = [a.get("type") for a in addresses]
    raise StatusError(500, "InternalError", f"no preferred addresses found; known addresses: {known}")


def container_of(pod: Object, wanted: str) -> str:
    """The container that a log, exec or attach is about: the wanted one, or the only one. Raises 400 (as upstream)."""
    spec = pod.get("spec") or {}
    names = {
        field: [c["name"] for c in spec.get(field) or ()]
        for field in ("containers", "initContainers", "ephemeralContainers")
    }
    name = name_of(pod)
    if wanted:
        if any(wanted in found for found in names.values()):
            return wanted
        raise bad_request(f"container {wanted} is not valid for pod {name}")
    if len(names["containers"]) == 1:
        return str(names["containers"][0])
    if not names["containers"]:
        raise bad_request(f"a container name must be specified for pod {name}")

    def listed(found: list[str]) -> str:
        return "[" + " ".join(found) + "]"

    text = f"a container name must be specified for pod {name}, choose one of: {listed(names['containers'])}"
    if names["initContainers"]:
        text += f" or one of the init containers: {listed(names['initContainers'])}"
    if names["ephemeralContainers"]:
        text += f" or one of the ephemeral containers: {listed(names['ephemeralContainers'])}"
    raise bad_request(text)


def assigned_node(pod: Object) -> str:
    """The pod's node. Raises 400 when it has none yet."""
    node: str = (pod.get("spec") or {}).get("nodeName") or ""
    if not node:
        raise bad_request(f"pod {name_of(pod)} does not have a host assigned")
    return node


def pod_address(reader: Reader, namespace: str, text: str) -> Address:
    """Where `pods/{[scheme:]name[:port]}/proxy` goes. Without port: the first that a container declares."""
    named = split_name(text)
    pod = pod_of(reader, namespace, named.name)
    status = pod.get("status") or {}
    address = status.get("podIP") or ""
    if not address:
        raise bad_request("address not allowed")
    containers = (pod.get("spec") or {}).get("containers") or ()
    declared = [p for c in containers for p in c.get("ports") or ()]
    port = named.port or (declared[0]["containerPort"] if declared else 80)
    if isinstance(port, str) and not port.isdigit():
        port = next((p["containerPort"] for p in declared if p.get("name") == port), 0)
        if not port:
            raise bad_request(f'invalid pod request "{text}"')
    return Address(named.scheme or "http", address, int(port))


def service_address(reader: Reader, namespace: str, text: str) -> Address:
    """Where `services/{[scheme:]name[:port]}/proxy` goes: a ready endpoint of the service's port. Raises 404, 503."""
    named = split_name(text)
    service = reader.get(SERVICES, named.name, namespace)
    if service is None:
        raise not_found("", "services", named.name)
    ports: list[dict[str, Any]] = (service.get("spec") or {}).get("ports") or []
    wanted = named.port
    if wanted.isdigit():
        found = next((p for p in ports if p.get("port") == int(wanted)), None)
        if found is None:
            raise unavailable(f"no service port {wanted} found for service {named.name!r}".replace("'", '"'))
        wanted = found.get("name") or ""
    for piece in reader.objects(ENDPOINTSLICES, namespace):
        if labels_of(piece).get("kubernetes.io/service-name") != named.name:
            continue
        for port in piece.get("ports") or ():
            if (port.get("name") or "") != wanted and not (wanted == "" and len(piece["ports"]) == 1):
                continue
            for endpoint in piece.get("endpoints") or ():
                if (endpoint.get("conditions") or {}).get("ready") is not False and endpoint.get("addresses"):
                    return Address(named.scheme or "http", endpoint["addresses"][0], int(port["port"]))
    raise unavailable(f'no endpoints available for service "{text}"')
