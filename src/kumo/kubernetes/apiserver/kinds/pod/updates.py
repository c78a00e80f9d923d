"""What an update may change about a pod: images, a deadline, more tolerations, fewer gates; almost nothing else."""

from __future__ import annotations

import copy
from typing import Any

from kumo.api import fields
from kumo.api.errors import Cause
from kumo.api.objects import Object
from kumo.kubernetes.apiserver.kinds.go_diff import go_diff
from kumo.kubernetes.apiserver.kinds.pod.containers import image_space
from kumo.kubernetes.apiserver.kinds.pod.known_specs import KnownSpecs
from kumo.kubernetes.apiserver.kinds.pod.options import Options, options_for
from kumo.kubernetes.apiserver.kinds.pod.scheduling import validate_tolerations
from kumo.kubernetes.apiserver.kinds.pod.security import APPARMOR_CONTAINER
from kumo.kubernetes.apiserver.kinds.pod.template import MIRROR
from kumo.kubernetes.apiserver.kinds.pod.whole import validate_whole

_MUTABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_ADDITIONS = "only additions are allowed (no mutations or deletions)"


def check_update(new: Object, old: Object, good: KnownSpecs | None = None) -> list[Cause]:
    """What is wrong with the new state of a pod. `good` are specs that need no second look."""
    fresh, stale = new.get("spec") or {}, old.get("spec") or {}
    options = options_for(stale, is_pod=True)
    found = validate_whole(new, options, good)
    found += check_annotations(new, old)
    if fresh == stale:
        return found
    for key in ("containers", "initContainers"):
        containers = fresh.get(key) or []
        if len(containers) != len(stale.get(key) or []):
            found.append(fields.forbidden(f"spec.{key}", "pod updates may not add or remove containers"))
            return found
        for index, container in enumerate(containers):
            if not container.get("image"):
                found.append(fields.required(f"spec.{key}[{index}].image"))
            found += image_space(f"spec.{key}[{index}]", container)
    if not _deadline(fresh, stale, found):
        return found
    _tolerations(fresh, stale, options, found)
    _gates(fresh, stale, found)
    changed = _comparable(fresh, stale, found)
    if changed != stale:
        found.append(fields.forbidden("spec", f"{_MUTABLE}\n{go_diff('core.v1.PodSpec', stale, changed)}"))
    return found


def check_annotations(new: Object, old: Object) -> list[Cause]:
    """Annotations that an update may not touch."""
    fresh, stale = (((o.get("metadata") or {}).get("annotations")) or {} for o in (new, old))
    found: list[Cause] = []
    if fresh == stale:
        return found
    for key in sorted(stale):
        if fresh.get(key) != stale[key]:
            if key.startswith(APPARMOR_CONTAINER):
                text = "may not remove or update AppArmor annotations"
                found.append(fields.forbidden(f"metadata.annotations[{key}]", text))
            if key == MIRROR:
                text = "may not remove or update mirror pod annotation"
                found.append(fields.forbidden(f"metadata.annotations[{key}]", text))
    for key in sorted(set(fresh) - set(stale)):
        if key.startswith(APPARMOR_CONTAINER):
            found.append(fields.forbidden(f"metadata.annotations[{key}]", "may not add AppArmor annotations"))
        if key == MIRROR:
            found.append(fields.forbidden(f"metadata.annotations[{key}]", "may not add mirror pod annotation"))
    return found


def _deadline(fresh: dict[str, Any], stale: dict[str, Any], found: list[Cause]) -> bool:
    """Whether the deadline is so good that the rest is worth a look."""
    path, deadline, before = "spec.activeDeadlineSeconds", *(s.get("activeDeadlineSeconds") for s in (fresh, stale))
    if deadline is None:
        if before is not None:
            found.append(fields.invalid(path, None, "must not update from a positive integer to nil value"))
        return True
    if not 0 <= deadline < 1 << 31:
        found.append(fields.invalid(path, deadline, "must be between 0 and 2147483647, inclusive"))
        return False
    if before is not None and before < deadline:
        found.append(fields.invalid(path, deadline, "must be less than or equal to previous value"))
        return False
    return True


def _tolerations(fresh: dict[str, Any], stale: dict[str, Any], options: Options, found: list[Cause]) -> None:
    now = [_plain(t) for t in fresh.get("tolerations") or ()]
    if any(_plain(t) not in now for t in stale.get("tolerations") or ()):
        text = "existing toleration can not be modified except its tolerationSeconds"
        found.append(fields.forbidden("spec.tolerations", text))
        return
    validate_tolerations("spec.tolerations", fresh.get("tolerations") or (), options, found)


def _plain(toleration: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in toleration.items() if k != "tolerationSeconds"}


def _gates(fresh: dict[str, Any], stale: dict[str, Any], found: list[Cause]) -> None:
    before = {gate.get("name") for gate in stale.get("schedulingGates") or ()}
    more = {g.get("name") or "": i for i, g in enumerate(fresh.get("schedulingGates") or ())}
    for name, index in more.items():
        if name not in before:
            text = f"only deletion is allowed, but found new scheduling gate '{name}'"
            found.append(fields.forbidden(f"spec.schedulingGates[{index}].name", text))


def _comparable(fresh: dict[str, Any], stale: dict[str, Any], found: list[Cause]) -> dict[str, Any]:
    """The new spec with what may change put back."""
    out = copy.deepcopy(fresh)
    for key in ("containers", "initContainers"):
        for container, other in zip(out.get(key) or (), stale.get(key) or ()):
            _restore(container, other, "image")
    for key in ("activeDeadlineSeconds", "tolerations", "schedulingGates"):
        _restore(out, stale, key)
    if (stale.get("terminationGracePeriodSeconds") or 0) < 0 and out.get("terminationGracePeriodSeconds") == 1:
        _restore(out, stale, "terminationGracePeriodSeconds")
    if stale.get("schedulingGates"):
        _gated(out, stale, found)
    return out


def _restore(target: dict[str, Any], source: dict[str, Any], key: str) -> None:
    if key in source:
        target[key] = source[key]
    else:
        target.pop(key, None)


def _gated(out: dict[str, Any], stale: dict[str, Any], found: list[Cause]) -> None:
    """A pod that waits at gates may still be told more exactly where to run."""
    before, after = stale.get("nodeSelector") or {}, out.get("nodeSelector") or {}
    if any(after.get(key) != value for key, value in before.items()):
        text = "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
        found.append(fields.invalid("spec.nodeSelector", after or None, text))
    _restore(out, stale, "nodeSelector")
    affinity, other = out.get("affinity"), stale.get("affinity")
    now, then = (affinity or {}).get("nodeAffinity"), (other or {}).get("nodeAffinity")
    if now == then:
        return
    if then is not None and then.get(_REQUIRED) is not None:
        _terms((now or {}).get(_REQUIRED) or {}, then[_REQUIRED], found)
    if affinity is None:
        out["affinity"] = {"nodeAffinity": then}
    elif other is None and set(affinity) <= {"nodeAffinity"}:
        del out["affinity"]
    else:
        _restore(affinity, other or {}, "nodeAffinity")


def _terms(now: dict[str, Any], then: dict[str, Any], found: list[Cause]) -> None:
    path = f"spec.affinity.nodeAffinity.{_REQUIRED}.nodeSelectorTerms"
    fresh, stale = now.get("nodeSelectorTerms") or [], then.get("nodeSelectorTerms") or []
    if stale and len(stale) != len(fresh):
        text = "no additions/deletions to non-empty NodeSelectorTerms list are allowed"
        found.append(fields.invalid(path, [_shown(t) for t in fresh] or None, text))
        return
    for index, (term, other) in enumerate(zip(fresh, stale)):
        if not _only_adds(term, other):
            found.append(fields.invalid(f"{path}[{index}]", _shown(term), _ADDITIONS))


def _shown(term: dict[str, Any]) -> dict[str, Any]:
    def requirement(item: dict[str, Any]) -> dict[str, Any]:
        return {"Key": item.get("key") or "", "Operator": item.get("operator") or "", "Values": item.get("values")}

    parts = {"MatchExpressions": "matchExpressions", "MatchFields": "matchFields"}
    return {go: [requirement(i) for i in term[key]] if term.get(key) else None for go, key in parts.items()}


def _only_adds(term: dict[str, Any], other: dict[str, Any]) -> bool:
    keys = ("matchExpressions", "matchFields")
    if not any(other.get(key) for key in keys):
        return not any(term.get(key) for key in keys)
    return all((term.get(key) or [])[: len(other.get(key) or ())] == (other.get(key) or []) for key in keys)
