"""A pod as a whole: its annotations and spec together."""

from __future__ import annotations

from typing import Any

from kumo.api import fields
from kumo.api.errors import Cause
from kumo.api.objects import Object
from kumo.kubernetes.apiserver.kinds.pod.containers import image_space
from kumo.kubernetes.apiserver.kinds.pod.known_specs import KnownSpecs
from kumo.kubernetes.apiserver.kinds.pod.options import POD, Options
from kumo.kubernetes.apiserver.kinds.pod.spec import validate_pod_spec
from kumo.kubernetes.apiserver.kinds.pod.template import validate_annotated_profiles, validate_pod_annotations


def validate_whole(pod: Object, options: Options = POD, good: KnownSpecs | None = None) -> list[Cause]:
    """What is wrong with a pod, new or changed, beyond its metadata. `good` are specs that need no second look."""
    meta, spec = pod.get("metadata") or {}, pod.get("spec") or {}
    annotations = meta.get("annotations")
    found = validate_pod_annotations("metadata.annotations", annotations, spec, options) if annotations else []
    if good is None or options is not POD:
        return found + _validate_spec(spec, meta, options)
    if good.is_good(spec):
        return found
    wrong = _validate_spec(spec, meta, options)
    if not wrong:
        good.add_good(spec)
    return found + wrong


def _validate_spec(spec: dict[str, Any], meta: Object, options: Options) -> list[Cause]:
    found = validate_pod_spec("spec", spec, meta, options)
    if not spec.get("serviceAccountName"):
        for index, volume in enumerate(spec.get("volumes") or ()):
            for number, source in enumerate((volume.get("projected") or {}).get("sources") or ()):
                if source.get("serviceAccountToken") is not None:
                    path = f"spec.volumes[{index}].projected.sources[{number}].serviceAccountToken"
                    text = "must not be specified when serviceAccountName is not set"
                    found.append(fields.forbidden(path, text))
    for key in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(key) or ()):
            found += image_space(f"spec.{key}[{index}]", container)
    return found


def validate_new(pod: Object) -> list[Cause]:
    """What is wrong with a new pod beyond that."""
    meta, spec = pod.get("metadata") or {}, pod.get("spec") or {}
    found: list[Cause] = []
    if spec.get("ephemeralContainers"):
        found.append(fields.forbidden("spec.ephemeralContainers", "cannot be set on create"))
    if spec.get("nodeName") and spec.get("schedulingGates"):
        found.append(fields.forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared"))
    if meta.get("annotations"):
        found += validate_annotated_profiles("spec", meta["annotations"], spec)
    return found
