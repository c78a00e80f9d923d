"""Services and endpoint slices."""

from __future__ import annotations

from kumo.api import names
from kumo.api.objects import Object
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds.checks import set_default, spec_of
from kumo.kubernetes.apiserver.kinds.rules import Rules
from kumo.kubernetes.apiserver.kinds.service_carry import carry_over, drop_unneeded, one_list
from kumo.kubernetes.apiserver.kinds.service_validation import (
    WITH_ADDRESS,
    check_service_update,
    is_external,
    validate_service,
    validate_service_status,
    warn_of_service,
)


def _default(obj: Object) -> None:
    spec = spec_of(obj)
    spec["sessionAffinity"] = spec.get("sessionAffinity") or "None"
    kind = spec["type"] = spec.get("type") or "ClusterIP"
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    elif spec["sessionAffinity"] == "ClientIP":
        config = spec.get("sessionAffinityConfig") or {}
        if (config.get("clientIP") or {}).get("timeoutSeconds") is None:
            spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": 10800}}
    for port in spec.get("ports") or ():
        port["protocol"] = port.get("protocol") or "TCP"
        if port.get("targetPort") in (None, 0, ""):
            port["targetPort"] = port.get("port") or 0
    if is_external(spec):
        spec["externalTrafficPolicy"] = spec.get("externalTrafficPolicy") or "Cluster"
    if kind in WITH_ADDRESS:
        set_default(spec, internalTrafficPolicy="Cluster")
    if kind == "LoadBalancer":
        set_default(spec, allocateLoadBalancerNodePorts=True)
        for item in ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ():
            if item.get("ip"):
                set_default(item, ipMode="VIP")


def _on_create(obj: Object) -> None:
    obj["status"] = {"loadBalancer": {}}
    one_list(spec_of(obj))
    drop_unneeded(spec_of(obj))


def rules() -> dict[GVK, Rules]:
    """The rules of the kinds in this module."""
    return {
        GVK("", "v1", "Service"): Rules(
            default=_default,
            on_create=_on_create,
            on_update=carry_over,
            validate=validate_service,
            check_update=check_service_update,
            validate_status=validate_service_status,
            warn=warn_of_service,
            check_name=names.check_label,
            allow_create_on_update=True,
            has_status=True,
            fields={"spec.clusterIP": "spec.clusterIP", "spec.type": "spec.type"},
        ),
    }
