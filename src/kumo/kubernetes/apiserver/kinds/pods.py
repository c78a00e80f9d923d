"""Pods and pod templates."""

from __future__ import annotations

import copy
import json
from typing import Any

from kumo.api import fields
from kumo.api.errors import Cause
from kumo.api.objects import Object, timestamp
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds.pod_defaults import default_pod, default_pod_spec
from kumo.kubernetes.apiserver.kinds.pod_validation import validate_pod_spec, validate_template
from kumo.kubernetes.apiserver.kinds.qos import qos_class
from kumo.kubernetes.apiserver.kinds.rules import Rules, as_field, at

_MUTABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def _default(pod: Object) -> None:
    default_pod(pod.setdefault("spec", {}))


def _on_create(pod: Object) -> None:
    status: dict[str, Any] = {"phase": "Pending", "qosClass": qos_class(pod.get("spec") or {})}
    if at(pod, "spec.schedulingGates"):
        status["conditions"] = [
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
                "lastTransitionTime": timestamp(),
            }
        ]
    pod["status"] = status


def _validate(pod: Object) -> list[Cause]:
    return validate_pod_spec("spec", pod.get("spec"))


def _comparable(spec: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The spec with whatever may change made equal to the other's."""
    out = copy.deepcopy(spec)
    for key in ("containers", "initContainers"):
        theirs = other.get(key) or []
        for index, container in enumerate(out.get(key) or ()):
            if index < len(theirs) and "image" in theirs[index]:
                container["image"] = theirs[index]["image"]
    for key in ("activeDeadlineSeconds", "tolerations", "schedulingGates"):
        if key in other:
            out[key] = other[key]
        else:
            out.pop(key, None)
    if (other.get("terminationGracePeriodSeconds") or 0) < 0 and out.get("terminationGracePeriodSeconds") == 1:
        out["terminationGracePeriodSeconds"] = other["terminationGracePeriodSeconds"]
    if other.get("schedulingGates"):
        for key in ("nodeSelector", "affinity"):
            if key in other:
                out[key] = other[key]
            else:
                out.pop(key, None)
    return out


def _validate_update(new: Object, old: Object) -> list[Cause]:
    fresh, stale = new.get("spec") or {}, old.get("spec") or {}
    found: list[Cause] = []
    for key in ("containers", "initContainers"):
        if len(fresh.get(key) or ()) != len(stale.get(key) or ()):
            return [fields.forbidden(f"spec.{key}", "pod updates may not add or remove containers")]
    deadline, before = fresh.get("activeDeadlineSeconds"), stale.get("activeDeadlineSeconds")
    if before is not None and deadline != before:
        if deadline is None:
            detail = "must not update from a positive integer to nil value"
            found.append(fields.invalid("spec.activeDeadlineSeconds", None, detail))
        elif deadline > before:
            detail = f"must be less than or equal to previous value ({before})"
            found.append(fields.invalid("spec.activeDeadlineSeconds", deadline, detail))
    if any(t not in _plain(fresh.get("tolerations")) for t in _plain(stale.get("tolerations"))):
        detail = "existing toleration can not be modified except its tolerationSeconds"
        found.append(fields.forbidden("spec.tolerations", detail))
    gates = [g for g in fresh.get("schedulingGates") or () if g not in (stale.get("schedulingGates") or ())]
    if gates:
        detail = f"only deletion is allowed, but found new scheduling gate '{gates[0].get('name')}'"
        found.append(fields.forbidden("spec.schedulingGates[0].name", detail))
    changed = _comparable(fresh, stale)
    if changed != stale:
        found.append(fields.forbidden("spec", f"{_MUTABLE}\n{_difference(changed, stale)}"))
    return found


def _plain(tolerations: Any) -> list[dict[str, Any]]:
    return [{k: v for k, v in t.items() if k != "tolerationSeconds"} for t in tolerations or ()]


def _difference(new: dict[str, Any], old: dict[str, Any]) -> str:
    """The fields that differ, old (`-`) and new (`+`)."""
    lines = []
    for key in sorted({*new, *old}):
        if new.get(key) != old.get(key):
            lines.append(f"- {key}: {json.dumps(old.get(key), sort_keys=True)}")
            lines.append(f"+ {key}: {json.dumps(new.get(key), sort_keys=True)}")
    return "\n".join(lines)


def _default_template(obj: Object) -> None:
    template = obj.get("template")
    if template is not None:
        default_pod_spec(template.setdefault("spec", {}))


def _host_network(pod: Object) -> str:
    return as_field(bool(at(pod, "spec.hostNetwork")))


def _pod_ips(pod: Object) -> str:
    return str(at(pod, "status.podIP") or "")


def rules() -> dict[GVK, Rules]:
    """The rules of pods and pod templates."""
    return {
        GVK("", "v1", "Pod"): Rules(
            default=_default,
            on_create=_on_create,
            validate=_validate,
            validate_update=_validate_update,
            has_status=True,
            has_generation=True,
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
            validate=lambda obj: validate_template("template", obj.get("template")),
            has_generation=True,
        ),
    }
