"""Pods and pod templates."""

from __future__ import annotations

from functools import partial
from typing import Any

from kumo.api.errors import Cause
from kumo.api.objects import Object, timestamp
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds.pod import validate_template
from kumo.kubernetes.apiserver.kinds.pod.defaults import default_pod, default_pod_spec
from kumo.kubernetes.apiserver.kinds.pod.dropping import drop_disabled
from kumo.kubernetes.apiserver.kinds.pod.known_specs import KnownSpecs
from kumo.kubernetes.apiserver.kinds.pod.options import options_for
from kumo.kubernetes.apiserver.kinds.pod.parts import (
    prepare_ephemeral,
    prepare_resize,
    validate_ephemeral,
    validate_resize,
)
from kumo.kubernetes.apiserver.kinds.pod.scheduling import merge_label_keys
from kumo.kubernetes.apiserver.kinds.pod.security import APPARMOR_CONTAINER
from kumo.kubernetes.apiserver.kinds.pod.statuses import prepare_status, validate_status
from kumo.kubernetes.apiserver.kinds.pod.updates import check_update
from kumo.kubernetes.apiserver.kinds.pod.visiting import visit
from kumo.kubernetes.apiserver.kinds.pod.warnings import apparmor_field, warn_of_pod, warn_of_status, warn_of_template
from kumo.kubernetes.apiserver.kinds.pod.whole import validate_new, validate_whole
from kumo.kubernetes.apiserver.kinds.qos import qos_class
from kumo.kubernetes.apiserver.kinds.rules import Part, Rules, as_field, at


def _default(pod: Object) -> None:
    default_pod(pod.setdefault("spec", {}))
    status = pod.get("status")
    if status and (status.get("podIP") or status.get("podIPs")):
        _match_addresses(status)


def _match_addresses(status: dict[str, Any]) -> None:
    """The older field has the first of the addresses; it wins when the two differ."""
    one, several = status.get("podIP"), status.get("podIPs") or [{}]
    if one and several[0].get("ip") != one:
        status["podIPs"] = [{"ip": one}]
    elif not one and several[0].get("ip"):
        status["podIP"] = several[0]["ip"]


def _on_create(pod: Object) -> None:
    spec = pod.get("spec") or {}
    # As upstream: a class of service that the writer states is believed.
    stated = (pod.get("status") or {}).get("qosClass")
    status: dict[str, Any] = {"phase": "Pending", "qosClass": stated or qos_class(spec)}
    if spec.get("schedulingGates"):
        status["conditions"] = [
            {
                "lastProbeTime": None,
                "lastTransitionTime": timestamp(),
                "message": "Scheduling is blocked due to non-empty scheduling gates",
                "reason": "SchedulingGated",
                "status": "False",
                "type": "PodScheduled",
            }
        ]
    pod["status"] = status
    drop_disabled(spec, None)
    merge_label_keys(spec, at(pod, "metadata.labels") or {})
    annotations = at(pod, "metadata.annotations")
    if annotations:
        _profiles_from(annotations, spec)


def _profiles_from(annotations: dict[str, str], spec: dict[str, Any]) -> None:
    """AppArmor profiles that are given in annotations go into their fields."""
    whole = at(spec, "securityContext.appArmorProfile")
    for container, _ in visit(spec) if at(spec, "os.name") != "windows" else ():
        annotation = annotations.get(APPARMOR_CONTAINER + (container.get("name") or ""))
        if annotation is not None and at(container, "securityContext.appArmorProfile") is None:
            profile = apparmor_field(annotation)
            if profile is not None and profile != whole:
                container.setdefault("securityContext", {})["appArmorProfile"] = profile


def _on_update(new: Object, old: Object) -> None:
    drop_disabled(new.get("spec") or {}, old.get("spec"))


def _default_template(obj: Object) -> None:
    template = obj.get("template")
    if template is not None:
        default_pod_spec(template.setdefault("spec", {}))


def _check_template_update(new: Object, old: Object) -> list[Cause]:
    options = options_for(at(old, "template.spec"), is_pod=False)
    return validate_template("template", new.get("template"), options)


def _drop_from_template(new: Object, old: Object | None = None) -> None:
    drop_disabled(at(new, "template.spec") or {}, at(old or {}, "template.spec"))


def _warn_of_template(new: Object, old: Object | None) -> list[str]:
    return warn_of_template("template", new.get("template"))


def _host_network(pod: Object) -> str:
    return as_field(bool(at(pod, "spec.hostNetwork")))


def _pod_ips(pod: Object) -> str:
    addresses = at(pod, "status.podIPs") or ()
    return str(addresses[0].get("ip") or "") if addresses else str(at(pod, "status.podIP") or "")


def rules() -> dict[GVK, Rules]:
    """The rules of pods and pod templates."""
    known = KnownSpecs()
    return {
        GVK("", "v1", "Pod"): Rules(
            default=_default,
            on_create=_on_create,
            on_update=_on_update,
            validate=partial(validate_whole, good=known),
            validate_create=validate_new,
            check_update=partial(check_update, good=known),
            revalidates=True,
            prepare_status=prepare_status,
            validate_status=validate_status,
            warn=partial(warn_of_pod, known=known),
            warn_status=warn_of_status,
            has_status=True,
            status_on_create=True,
            has_generation=True,
            parts={
                "ephemeralcontainers": Part(prepare_ephemeral, validate_ephemeral),
                "resize": Part(prepare_resize, validate_resize),
            },
            fields={
                "spec.nodeName": "spec.nodeName",
                "spec.restartPolicy": "spec.restartPolicy",
                "spec.schedulerName": "spec.schedulerName",
                "spec.serviceAccountName": "spec.serviceAccountName",
                "spec.hostNetwork": _host_network,
                "status.phase": "status.phase",
                "status.podIP": _pod_ips,
                "status.nominatedNodeName": "status.nominatedNodeName",
            },
        ),
        GVK("", "v1", "PodTemplate"): Rules(
            default=_default_template,
            on_create=_drop_from_template,
            on_update=_drop_from_template,
            validate=lambda obj: validate_template("template", obj.get("template")),
            check_update=_check_template_update,
            warn=_warn_of_template,
            has_generation=True,
        ),
    }
