"""Who may write which part of a ResourceClaim's status, and where admin access to devices may be asked for.

Whoever may write the status at all needs, to change what is allocated or reserved, the verb of his request on
`resourceclaims/binding`; to change what drivers report of devices, `arbitrary-node:<verb>` on `resourceclaims/driver`
named as the driver - or `associated-node:<verb>`, if his token is bound to the one node the claim is allocated for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kumo.api import fields
from kumo.api.errors import Cause, invalid
from kumo.api.objects import Object
from kumo.kubernetes.apiserver.admission.namespaces import NamespaceTable
from kumo.kubernetes.apiserver.admission.refusals import object_name
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes, RequestInfo
from kumo.kubernetes.apiserver.authorization import Authorizer
from kumo.kubernetes.apiserver.authorization.authorizer import forbidden_error

_LABEL = "resource.kubernetes.io/admin-access"
_UNLABELLED = f"admin access to devices requires the `{_LABEL}: true` label on the containing namespace"
_GROUP, _CLAIMS = "resource.k8s.io", "resourceclaims"
_NODE = "authentication.kubernetes.io/node-name"
_ACCOUNT = "system:serviceaccount:"


class DeviceRights:
    """Judges claims and their templates; without an authorizer everybody may write every part."""

    def __init__(self, namespaces: NamespaceTable, authorizer: Authorizer | None) -> None:
        self._namespaces = namespaces
        self._authorizer = authorizer

    def validate_requests(self, attrs: AdmissionAttributes) -> None:
        """Raise 422 for a new claim or template that asks for admin access where that is not to be had."""
        spec = (attrs.object or {}).get("spec") or {}
        if attrs.gvr.resource != _CLAIMS:
            spec = spec.get("spec") or {}
        asked = (spec.get("devices") or {}).get("requests") or ()
        wanting = [i for i, request in enumerate(asked) if (request.get("exactly") or {}).get("adminAccess")]
        if wanting and not self._is_labelled(attrs.namespace):
            _refuse(attrs, [fields.forbidden(f"spec.devices.requests[{i}].adminAccess", _UNLABELLED) for i in wanting])

    def validate_status(self, attrs: AdmissionAttributes) -> None:
        """Raise 422 for a change of the status that the writer may not make."""
        new, old = _status(attrs.object), _status(attrs.old_object)
        found = list(self._unauthorized(attrs, new, old))
        wanting = _with_admin_access(new)
        if wanting and not _with_admin_access(old) and not self._is_labelled(attrs.namespace):
            where = "status.allocation.devices.results"
            found += [fields.forbidden(f"{where}[{i}].adminAccess", _UNLABELLED) for i in wanting]
        if found:
            _refuse(attrs, found)

    def _is_labelled(self, namespace: str) -> bool:
        facts = self._namespaces.get(namespace)
        return facts is not None and facts.labels.get(_LABEL) == "true"

    def _unauthorized(self, attrs: AdmissionAttributes, new: Object, old: Object) -> Iterator[Cause]:
        if any((new.get(key) or None) != (old.get(key) or None) for key in ("allocation", "reservedFor")):
            why = self._why_not(attrs, attrs.verb, "binding")
            if why:
                needed = f'resource="resourceclaims/binding", verb="{attrs.verb}" permission: {why}'
                yield fields.forbidden(
                    "status.allocation", f"changing status.allocation or status.reservedFor requires {needed}"
                )
        verbs = [f"arbitrary-node:{attrs.verb}"]
        if _on_its_node(attrs, new):
            verbs.insert(0, f"associated-node:{attrs.verb}")
        for driver in _changed_drivers(new, old):
            reasons = []
            for verb in verbs:
                why = self._why_not(attrs, verb, "driver", driver)
                if not why:
                    break
                reasons.append(why)
            else:
                needed = f'resource="resourceclaims/driver", verb="[{" ".join(verbs)}]" permission: {reasons[0]}'
                yield fields.forbidden("status.devices", f"changing status.devices requires {needed}")

    def _why_not(self, attrs: AdmissionAttributes, verb: str, part: str, driver: str = "") -> str:
        """Why the writer may not; empty if he may."""
        if self._authorizer is None:
            return ""
        # A binding is allowed in all namespaces or in none.
        namespace = attrs.namespace if driver else ""
        info = RequestInfo(verb, "", _GROUP, attrs.gvr.version, namespace, _CLAIMS, part, driver)
        decision = self._authorizer.authorize(attrs.user, info)
        return "" if decision.allowed else forbidden_error(attrs.user, info, decision.reason).message


def _refuse(attrs: AdmissionAttributes, causes: list[Cause]) -> None:
    raise invalid(attrs.gvr.group, attrs.gvk.kind, object_name(attrs), causes)


def _status(claim: Object | None) -> Object:
    return (claim or {}).get("status") or {}


def _with_admin_access(status: Object) -> list[int]:
    """The places of allocated devices with admin access."""
    results = ((status.get("allocation") or {}).get("devices") or {}).get("results") or ()
    return [i for i, result in enumerate(results) if result.get("adminAccess")]


def _changed_drivers(new: Object, old: Object) -> list[str]:
    """The drivers of whose devices something else is reported; what goes with its allocation is nobody's change."""
    if new.get("allocation") is None:
        return []
    after, before = _by_device(new), _by_device(old)
    return sorted({key[0] for key in {*after, *before} if after.get(key) != before.get(key)})


def _by_device(status: Object) -> dict[tuple[str, ...], dict[str, Any]]:
    keys = ("driver", "pool", "device", "shareID")
    return {tuple(device.get(key) or "" for key in keys): device for device in status.get("devices") or ()}


def _on_its_node(attrs: AdmissionAttributes, new: Object) -> bool:
    """Whether the writer is a service account on the one node that the claim is allocated for."""
    nodes = attrs.user.extra.get(_NODE, ())
    if not attrs.user.name.startswith(_ACCOUNT) or len(nodes) != 1:
        return False
    terms = ((new.get("allocation") or {}).get("nodeSelector") or {}).get("nodeSelectorTerms") or []
    if len(terms) != 1 or terms[0].get("matchExpressions"):
        return False
    return bool(terms[0].get("matchFields") == [{"key": "metadata.name", "operator": "In", "values": [nodes[0]]}])
