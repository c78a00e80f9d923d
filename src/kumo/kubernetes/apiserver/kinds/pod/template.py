"""Pod templates, and pods in so far as they are like templates."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from kumo.api import fields
from kumo.api.errors import Cause
from kumo.kubernetes.apiserver.kinds.metadata import validate_annotations, validate_labels
from kumo.kubernetes.apiserver.kinds.pod.options import TEMPLATE, Options
from kumo.kubernetes.apiserver.kinds.pod.scheduling import validate_tolerations
from kumo.kubernetes.apiserver.kinds.pod.security import (
    APPARMOR_CONTAINER,
    SECCOMP_CONTAINER,
    SECCOMP_POD,
    validate_profile_annotations,
    validate_profiles_agree,
)
from kumo.kubernetes.apiserver.kinds.pod.spec import validate_pod_spec
from kumo.kubernetes.apiserver.kinds.pod.visiting import visit

MIRROR = "kubernetes.io/config.mirror"
_DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_TOLERATIONS = "scheduler.alpha.kubernetes.io/tolerations"


def validate_template(path: str, template: dict[str, Any] | None, options: Options = TEMPLATE) -> list[Cause]:
    """What is wrong with a pod template."""
    template = template or {}
    meta, spec = template.get("metadata") or {}, template.get("spec") or {}
    found = validate_labels(f"{path}.labels", meta.get("labels"))
    annotations = meta.get("annotations")
    if annotations:
        found += validate_annotations(f"{path}.annotations", annotations)
        found += validate_pod_annotations(f"{path}.annotations", annotations, spec, options)
    found += validate_pod_spec(f"{path}.spec", spec, None, options)
    if annotations:
        found += validate_annotated_profiles(f"{path}.spec", annotations, spec)
    if spec.get("ephemeralContainers"):
        detail = "ephemeral containers not allowed in pod template"
        found.append(fields.forbidden(f"{path}.spec.ephemeralContainers", detail))
    return found


def validate_pod_annotations(
    path: str, annotations: Mapping[str, str], spec: dict[str, Any], options: Options
) -> list[Cause]:
    """The annotations that mean something to Kubernetes itself."""
    found: list[Cause] = []
    if MIRROR in annotations and not spec.get("nodeName"):
        detail = "must set spec.nodeName if mirror pod annotation is set"
        found.append(fields.invalid(f"{path}[{MIRROR}]", annotations[MIRROR], detail))
    if annotations.get(_TOLERATIONS):
        _tolerations(path, annotations[_TOLERATIONS], options, found)
    cost = annotations.get(_DELETION_COST)
    if cost is not None and not (re.fullmatch("0|-?[1-9][0-9]*", cost) and -(1 << 31) <= int(cost) < 1 << 31):
        found.append(fields.invalid(f"{path}[{_DELETION_COST}]", cost, "must be a 32bit integer"))
    if any(key.startswith(("seccomp.", "container.")) for key in annotations):
        known = frozenset(c.get("name") or "" for c, _ in visit(spec))
        validate_profile_annotations(path, annotations, known, found)
    return found


def _tolerations(path: str, text: str, options: Options, found: list[Cause]) -> None:
    try:
        items = json.loads(text)
    except ValueError as error:
        found.append(fields.invalid(path, _TOLERATIONS, str(error)))
        return
    if isinstance(items, list) and all(isinstance(item, dict) for item in items):
        validate_tolerations(f"{path}.{_TOLERATIONS}", items, options, found)


def validate_annotated_profiles(path: str, annotations: Mapping[str, str], spec: dict[str, Any]) -> list[Cause]:
    """Annotations and fields for seccomp and AppArmor must agree where both are there; `path` is the spec's."""
    found: list[Cause] = []
    if not any(key.startswith(("seccomp.", "container.")) for key in annotations):
        return found
    context = spec.get("securityContext") or {}
    profile = context.get("seccompProfile")
    where = f"{path}.securityContext.seccompProfile"
    validate_profiles_agree(where, "seccomp", annotations.get(SECCOMP_POD), profile, found)
    for container, here in visit(spec, path):
        profile = (container.get("securityContext") or {}).get("seccompProfile")
        annotation = annotations.get(SECCOMP_CONTAINER + (container.get("name") or ""))
        validate_profiles_agree(f"{here}.securityContext.seccompProfile", "seccomp", annotation, profile, found)
    if (spec.get("os") or {}).get("name") == "windows":
        return found
    for container, here in visit(spec, path):
        own = (container.get("securityContext") or {}).get("appArmorProfile")
        profile = own if own is not None else context.get("appArmorProfile")
        annotation = annotations.get(APPARMOR_CONTAINER + (container.get("name") or ""))
        validate_profiles_agree(f"{here}.securityContext.appArmorProfile", "apparmor", annotation, profile, found)
    return found
