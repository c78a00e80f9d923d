"""DefaultTolerationSeconds and Priority: what every new pod gets."""

from __future__ import annotations

from typing import Any

from kumo.api.objects import Object, name_of
from kumo.api.resources import PRIORITYCLASSES
from kumo.kubernetes.apiserver.admission.refusals import refused
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes, Reader

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
TOLERATION_SECONDS = 300
_PREEMPT = "PreemptLowerPriority"


def default_tolerations(attrs: AdmissionAttributes) -> None:
    """Let the pod stay on a node for five minutes after it becomes not ready or unreachable, unless it says else."""
    pod = attrs.object
    if attrs.subresource or pod is None or attrs.operation not in ("CREATE", "UPDATE"):
        return
    spec: dict[str, Any] = pod.setdefault("spec", {})
    tolerations = spec.get("tolerations") or []
    for key in (NOT_READY, UNREACHABLE):
        said = any(t.get("key") in (None, "", key) and t.get("effect") in (None, "", "NoExecute") for t in tolerations)
        if not said:
            added = {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATION_SECONDS}
            tolerations = [*tolerations, added]
    if tolerations:
        spec["tolerations"] = tolerations


class Priority:
    """Resolves a pod's priority class to its number, and keeps the classes themselves in order."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def mutate_pod(self, attrs: AdmissionAttributes) -> None:
        """Set `spec.priority` and `spec.preemptionPolicy`. Raises 403 for an unknown class or another number."""
        pod = attrs.object
        if attrs.subresource or pod is None:
            return
        spec: dict[str, Any] = pod.setdefault("spec", {})
        if attrs.operation == "UPDATE":
            old = (attrs.old_object or {}).get("spec") or {}
            for field in ("priority", "preemptionPolicy"):
                if spec.get(field) is None and old.get(field) is not None:
                    spec[field] = old[field]
            return
        if attrs.operation != "CREATE":
            return
        name = spec.get("priorityClassName") or ""
        if name:
            found = self._reader.get(PRIORITYCLASSES, name)
            if found is None:
                raise refused(attrs, f"no PriorityClass with name {name} was found")
        else:
            found = self._default()
            if found is not None:
                spec["priorityClassName"] = name_of(found)
        value = int(found["value"]) if found else 0
        policy = (found or {}).get("preemptionPolicy") or _PREEMPT
        stated = spec.get("priority")
        if stated is not None and stated != value:
            raise refused(
                attrs,
                f"the integer value of priority ({stated}) must not be provided in pod spec; "
                f"priority admission controller computed {value} from the given PriorityClass name",
            )
        stated_policy = spec.get("preemptionPolicy")
        if stated_policy is not None and stated_policy != policy:
            raise refused(
                attrs,
                f"the string value of PreemptionPolicy ({stated_policy}) must not be provided in pod spec; "
                f"priority admission controller computed {policy} from the given PriorityClass name",
            )
        spec["priority"] = value
        spec["preemptionPolicy"] = policy

    def _default(self) -> Object | None:
        classes = [c for c in self._reader.objects(PRIORITYCLASSES) if c.get("globalDefault")]
        return min(classes, key=lambda c: int(c["value"]), default=None)

    def validate_class(self, attrs: AdmissionAttributes) -> None:
        """Raise 403 for a second global default."""
        obj = attrs.object
        if attrs.operation not in ("CREATE", "UPDATE") or obj is None or not obj.get("globalDefault"):
            return
        other = self._default()
        if other is not None and name_of(other) != name_of(obj):
            why = f"PriorityClass {name_of(other)} is already marked as default. Only one default can exist"
            raise refused(attrs, why)
