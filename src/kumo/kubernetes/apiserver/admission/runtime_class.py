"""RuntimeClass: a pod's runtime class must exist, and gives the pod its overhead and where it may run."""

from __future__ import annotations

from typing import Any

from kumo.api.objects import Object
from kumo.api.quota.amounts import equal, parse_amounts
from kumo.api.resources import GVR
from kumo.kubernetes.apiserver.admission.refusals import refused
from kumo.kubernetes.apiserver.admission.tolerations import merge
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes, Reader

RUNTIMECLASSES = GVR("node.k8s.io", "v1", "runtimeclasses", False)
_OTHER_OVERHEAD = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"


class RuntimeClass:
    """Completes and judges new pods."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def _of(self, attrs: AdmissionAttributes) -> Object | None:
        name = ((attrs.object or {}).get("spec") or {}).get("runtimeClassName")
        if name is None:
            return None
        found = self._reader.get(RUNTIMECLASSES, name)
        if found is None:
            raise refused(attrs, f'pod rejected: RuntimeClass "{name}" not found')
        return found

    def mutate(self, attrs: AdmissionAttributes) -> None:
        """Set overhead, node selector and tolerations. Raises 403 when the pod says otherwise."""
        found = self._of(attrs)
        if found is None or attrs.object is None:
            return
        spec: dict[str, Any] = attrs.object["spec"]
        if found.get("overhead") is not None:
            fixed = found["overhead"].get("podFixed") or {}
            if spec.get("overhead") and not equal(parse_amounts(spec["overhead"]), parse_amounts(fixed)):
                raise refused(attrs, _OTHER_OVERHEAD)
            if fixed:
                spec["overhead"] = dict(fixed)
        scheduling = found.get("scheduling")
        if scheduling is None:
            return
        selector = dict(spec.get("nodeSelector") or {})
        for key, value in sorted((scheduling.get("nodeSelector") or {}).items()):
            if selector.get(key, value) != value:
                words = f"runtimeClass.scheduling.nodeSelector[{key}] = {value}"
                raise refused(attrs, f"conflict: {words}; pod.spec.nodeSelector[{key}] = {selector[key]}")
            selector[key] = value
        if selector:
            spec["nodeSelector"] = selector
        tolerations = merge(spec.get("tolerations") or (), scheduling.get("tolerations") or ())
        if tolerations:
            spec["tolerations"] = tolerations

    def validate(self, attrs: AdmissionAttributes) -> None:
        """Raise 403 for an overhead that is not the runtime class's."""
        found = self._of(attrs)
        stated = ((attrs.object or {}).get("spec") or {}).get("overhead")
        if found is not None and found.get("overhead") is not None:
            if not equal(parse_amounts(found["overhead"].get("podFixed")), parse_amounts(stated)):
                raise refused(attrs, _OTHER_OVERHEAD)
        elif stated is not None:
            raise refused(attrs, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")
