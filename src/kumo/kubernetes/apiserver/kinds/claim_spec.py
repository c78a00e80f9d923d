"""The spec of a claim for storage: of a PersistentVolumeClaim, or of a template that one is made of."""

from __future__ import annotations

from typing import Any

from kumo.api import fields, names, quantities
from kumo.api.errors import Cause
from kumo.kubernetes.apiserver.kinds.metadata import validate_annotations, validate_labels
from kumo.kubernetes.apiserver.kinds.selector_validation import validate_label_selector

ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
VOLUME_MODES = ("Block", "Filesystem")
_NOT_IN_TEMPLATES = (
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "ownerReferences",
    "finalizers",
    "managedFields",
)
_GO_NAMES = {"uid": "uID"}


def validate_template_metadata(path: str, meta: dict[str, Any]) -> list[Cause]:
    """What is wrong with the metadata of a claim's template (of storage or devices): labels and annotations alone."""
    found = validate_annotations(f"{path}.annotations", meta.get("annotations"))
    found += validate_labels(f"{path}.labels", meta.get("labels"))
    for key in _NOT_IN_TEMPLATES:
        if meta.get(key) or (key == "deletionGracePeriodSeconds" and meta.get(key) is not None):
            found.append(fields.forbidden(f"{path}.{_GO_NAMES.get(key, key)}", "cannot be set"))
    return found


def validate_claim_template(path: str, template: dict[str, Any]) -> list[Cause]:
    """What is wrong with the template of an ephemeral volume's claim."""
    found = validate_template_metadata(f"{path}.metadata", template.get("metadata") or {})
    return found + validate_claim_spec(f"{path}.spec", template.get("spec") or {})


def validate_claim_spec(path: str, spec: dict[str, Any], *, any_group: bool = False) -> list[Cause]:
    """What is wrong with a claim's spec; `any_group`: its data sources keep the API groups they had."""
    found: list[Cause] = []
    modes = spec.get("accessModes") or ()
    if not modes:
        found.append(fields.required(f"{path}.accessModes", "at least 1 access mode is required"))
    found += validate_label_selector(f"{path}.selector", spec.get("selector"))
    found += validate_modes(f"{path}.accessModes", modes)
    storage, here = ((spec.get("resources") or {}).get("requests") or {}).get("storage"), f"{path}.resources[storage]"
    if storage is None:
        found.append(fields.required(here))
    elif quantities.parse(storage) <= 0:
        found.append(fields.invalid(here, str(storage), "must be greater than zero"))
    if spec.get("storageClassName"):
        name = spec["storageClassName"]
        found += fields.each(f"{path}.storageClassName", name, names.check_subdomain(name))
    mode = spec.get("volumeMode")
    if mode is not None and mode not in VOLUME_MODES:
        found.append(fields.unsupported(f"{path}.volumeMode", mode, VOLUME_MODES))
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    if source is not None:
        found += _source(f"{path}.dataSource", source, any_group)
    if reference is not None:
        found += _source(f"{path}.dataSourceRef", reference, any_group)
        namespace = reference.get("namespace")
        if namespace:
            found += fields.each(f"{path}.dataSourceRef.namespace", namespace, names.check_label(namespace))
    if reference is not None and reference.get("namespace"):
        if source is not None:
            text = "may not be specified when dataSourceRef.namespace is specified"
            found.append(fields.invalid(path, {}, text))
    elif (
        source is not None
        and reference is not None
        and any(source.get(key) != reference.get(key) for key in ("apiGroup", "kind", "name"))
    ):
        found.append(fields.invalid(path, {}, "must match dataSourceRef"))
    name = spec.get("volumeAttributesClassName")
    if name:
        found += fields.each(f"{path}.volumeAttributesClassName", name, names.check_subdomain(name))
    return found


def validate_modes(path: str, modes: Any) -> list[Cause]:
    """The ways in which storage may be used."""
    found = [fields.unsupported(path, mode, ACCESS_MODES) for mode in modes if mode not in ACCESS_MODES]
    if "ReadWriteOncePod" in modes and any(m in ACCESS_MODES and m != "ReadWriteOncePod" for m in modes):
        found.append(fields.forbidden(path, "may not use ReadWriteOncePod with other access modes"))
    return found


def _source(path: str, source: dict[str, Any], any_group: bool) -> list[Cause]:
    found = [fields.required(f"{path}.{key}") for key in ("name", "kind") if not source.get(key)]
    group, kind = source.get("apiGroup") or "", source.get("kind") or ""
    if not group and kind != "PersistentVolumeClaim":
        detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
        found.append(fields.invalid(path, kind, detail))
    if group and not any_group:
        found += fields.each(f"{path}.apiGroup", group, names.check_subdomain(group))
    return found
