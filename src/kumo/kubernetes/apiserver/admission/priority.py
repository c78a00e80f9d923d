"""Priority: what a pod's priority class is worth, and one default class at most."""

from __future__ import annotations

from typing import Any

from kumo.api.objects import Object, name_of
from kumo.api.resources import PRIORITYCLASSES
from kumo.kubernetes.apiserver.admission.refusals import refused
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes, Reader

_PREEMPT = "PreemptLowerPriority"


class Priority:
    """Resolves a pod's priority class to its number, and keeps the classes themselves in order."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._revision = -1
        self._classes: dict[str, Object] = {}
        self._fallback: Object | None = None

    def _read(self) -> None:
        """Look at the classes again when one of them has changed."""
        revision = self._reader.revision(PRIORITYCLASSES)
        if revision != self._revision:
            self._classes = {name_of(found): found for found in self._reader.objects(PRIORITYCLASSES)}
            defaults = [found for found in self._classes.values() if found.get("globalDefault")]
            self._fallback = min(defaults, key=lambda found: int(found["value"]), default=None)
            self._revision = revision

    def keep(self, attrs: AdmissionAttributes) -> None:
        """An update that says nothing of the priority leaves it."""
        spec: dict[str, Any] = (attrs.object or {}).get("spec") or {}
        old = (attrs.old_object or {}).get("spec") or {}
        for field in ("priority", "preemptionPolicy"):
            if spec.get(field) is None and old.get(field) is not None:
                spec[field] = old[field]

    def resolve(self, attrs: AdmissionAttributes) -> None:
        """Set `spec.priority` and `spec.preemptionPolicy`. Raises 403 for an unknown class or another number."""
        if attrs.object is None:
            return
        self._read()
        spec: dict[str, Any] = attrs.object.setdefault("spec", {})
        name = spec.get("priorityClassName") or ""
        found = self._classes.get(name) if name else self._fallback
        if name and found is None:
            raise refused(attrs, f"no PriorityClass with name {name} was found")
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

    def validate_class(self, attrs: AdmissionAttributes) -> None:
        """Raise 403 for a second global default."""
        if attrs.object is None or not attrs.object.get("globalDefault"):
            return
        self._read()
        other = self._fallback
        if other is not None and (attrs.operation == "CREATE" or name_of(other) != name_of(attrs.object)):
            why = f"PriorityClass {name_of(other)} is already marked as default. Only one default can exist"
            raise refused(attrs, why)
