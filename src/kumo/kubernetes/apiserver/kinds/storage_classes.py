"""StorageClass, VolumeAttributesClass and VolumeAttachment (`pkg/apis/storage`)."""

from __future__ import annotations

from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.api.objects import Object
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds.checks import set_default
from kumo.kubernetes.apiserver.kinds.devices.identifiers import check_driver
from kumo.kubernetes.apiserver.kinds.go_diff import internal
from kumo.kubernetes.apiserver.kinds.node_labels import node_label_warning
from kumo.kubernetes.apiserver.kinds.persistent_volumes import validate_access, validate_sources
from kumo.kubernetes.apiserver.kinds.pod.defaults import default_volume
from kumo.kubernetes.apiserver.kinds.rules import Rules, at

_POLICIES = ("Delete", "Retain")
_BINDING_MODES = ("Immediate", "WaitForFirstConsumer")
_MOST_PARAMETERS = 512
_LARGEST = 256 * 1024
_LONGEST_MESSAGE = 1024
_INLINE = "may not be specified in the context of inline volumes"
_ONE_SOURCE = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"


# -- classes ----------------------------------------------------------------------------------------------------------


def _default_class(obj: Object) -> None:
    set_default(obj, reclaimPolicy="Delete", volumeBindingMode="Immediate")


def _check_class(obj: Object) -> list[Cause]:
    found = _provisioner("provisioner", obj.get("provisioner") or "")
    found += _parameters("parameters", obj.get("parameters") or {}, needed=False)
    policy, mode = obj.get("reclaimPolicy"), obj.get("volumeBindingMode")
    if policy and policy not in _POLICIES:
        found.append(fields.unsupported("reclaimPolicy", policy, _POLICIES))
    if mode not in _BINDING_MODES:
        found.append(fields.unsupported("volumeBindingMode", mode, _BINDING_MODES))
    return found + _topologies("allowedTopologies", obj.get("allowedTopologies") or ())


def _provisioner(path: str, name: str) -> list[Cause]:
    name = name.lower()
    return fields.each(path, name, names.check_qualified_name(name)) if name else [fields.required(path)]


def _parameters(path: str, parameters: dict[str, str], *, needed: bool) -> list[Cause]:
    if len(parameters) > _MOST_PARAMETERS:
        return [fields.too_long(path, _MOST_PARAMETERS)]
    found = [fields.invalid(path, "", "field can not be empty.")] if "" in parameters else []
    if sum(len(key.encode()) + len(value.encode()) for key, value in parameters.items()) > _LARGEST:
        found.append(fields.too_long(path, _LARGEST))
    if needed and not parameters:
        found.append(fields.required(path, "must contain at least one key/value pair"))
    return found


def _topologies(path: str, terms: Any) -> list[Cause]:
    found: list[Cause] = []
    seen: list[dict[str, set[str]]] = [{} for _ in terms]  # As upstream has it: an empty term is a duplicate at once.
    for index, term in enumerate(terms):
        here = f"{path}[{index}].matchLabelExpressions"
        known: dict[str, set[str]] = {}
        for number, item in enumerate(term.get("matchLabelExpressions") or ()):
            key, values = item.get("key") or "", item.get("values") or ()
            below = f"{here}[{number}]"
            found += [] if values else [fields.required(f"{below}.values")]
            for place, value in enumerate(values):
                found += [fields.duplicate(f"{below}.values[{place}]", value)] if value in values[:place] else []
            found += fields.each(f"{below}.key", key, names.check_qualified_name(key))
            found += [fields.duplicate(f"{below}.key", key)] if key in known else []
            known[key] = set(values)
        found += [fields.duplicate(here, "") for other in seen if other == known]
        seen.append(known)
    return found


def _change_class(new: Object, old: Object) -> list[Cause]:
    found = []
    for key in ("parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"):
        if (new.get(key) or None) != (old.get(key) or None):
            shown = new.get(key, "" if key == "provisioner" else None)
            found.append(fields.immutable(key, dict(sorted(shown.items())) if isinstance(shown, dict) else shown))
    return _check_class(new) + found


def _warn_class(new: Object, old: Object | None) -> list[str]:
    told = []
    for index, term in enumerate(new.get("allowedTopologies") or ()):
        for number, item in enumerate(term.get("matchLabelExpressions") or ()):
            key = item.get("key") or ""
            if why := node_label_warning(key):
                told.append(f"allowedTopologies[{index}].matchLabelExpressions[{number}].key: {why}")
    return told


def _check_attributes(obj: Object) -> list[Cause]:
    found = _provisioner("driverName", obj.get("driverName") or "")
    return found + _parameters("parameters", obj.get("parameters") or {}, needed=True)


def _change_attributes(new: Object, old: Object) -> list[Cause]:
    found = []
    for key in ("driverName", "parameters"):
        if (new.get(key) or None) != (old.get(key) or None):
            found.append(fields.forbidden(key, f"updates to {key} are forbidden."))
    return found + _check_attributes(new)


# -- attachments ------------------------------------------------------------------------------------------------------


def _default_attachment(obj: Object) -> None:
    inline = at(obj, "spec.source.inlineVolumeSpec")
    if inline is not None:
        default_volume(inline)


def _check_attachment(obj: Object) -> list[Cause]:
    spec, source = obj.get("spec") or {}, at(obj, "spec.source") or {}
    found = check_driver("spec.attacher", spec.get("attacher") or "")
    volume, inline, here = source.get("persistentVolumeName"), source.get("inlineVolumeSpec"), "spec.source"
    if volume is None and inline is None:
        found.append(fields.required(here, _ONE_SOURCE))
    elif volume is not None and inline is not None:
        found.append(fields.forbidden(here, _ONE_SOURCE))
    elif inline is not None:
        found += _inline(f"{here}.inlineVolumeSpec", inline)
    elif not volume:
        found.append(fields.required(f"{here}.persistentVolumeName", "must specify non empty persistentVolumeName"))
    node = spec.get("nodeName") or ""
    found += fields.each("spec.nodeName", node, names.check_subdomain(node))
    found += _attachment_status(obj.get("status") or {})
    if volume is not None:
        found += fields.each(f"{here}.persistentVolumeName", volume, names.check_subdomain(volume))
    return found


def _inline(path: str, spec: dict[str, Any]) -> list[Cause]:
    """A volume that is not an object of its own: of a CSI driver, and nobody's but the attachment's."""
    found = [fields.forbidden(f"{path}.claimRef", _INLINE)] if spec.get("claimRef") is not None else []
    found += [fields.forbidden(f"{path}.capacity", _INLINE)] if spec.get("capacity") else []
    if spec.get("csi") is None:
        found.append(fields.required(f"{path}.csi", "has to be specified in the context of inline volumes"))
    validate_access(f"{path}.accessModes", spec.get("accessModes") or (), found)
    if (spec.get("persistentVolumeReclaimPolicy") or "Retain") != "Retain":
        why = "may only be Retain in the context of inline volumes"
        found.append(fields.forbidden(f"{path}.persistentVolumeReclaimPolicy", why))
    if spec.get("nodeAffinity") is not None:
        found.append(fields.forbidden(f"{path}.nodeAffinity", _INLINE))
    validate_sources(path, spec, "", found)
    if spec.get("storageClassName"):
        found.append(fields.forbidden(f"{path}.storageClassName", _INLINE))
    if spec.get("volumeMode") not in (None, "Filesystem"):
        why = "may not specify volumeMode other than Filesystem in the context of inline volumes"
        found.append(fields.forbidden(f"{path}.volumeMode", why))
    return found


def _attachment_status(status: dict[str, Any]) -> list[Cause]:
    found: list[Cause] = []
    about = status.get("attachmentMetadata") or {}
    if sum(len(key.encode()) + len(value.encode()) for key, value in about.items()) > _LARGEST:
        found.append(fields.too_long("status.attachmentMetadata", _LARGEST))
    for key in ("attachError", "detachError"):
        error = status.get(key) or {}
        if len((error.get("message") or "").encode()) > _LONGEST_MESSAGE:
            found.append(fields.too_long(f"status.{key}.message", _LARGEST))  # Upstream names the other limit.
        code = error.get("errorCode")
        if code is not None and code < 0:
            why = "must be between 0 and 2147483647, inclusive"
            found.append(fields.invalid(f"status.{key}.errorCode", code, why))
    return found


def _change_attachment(new: Object, old: Object) -> list[Cause]:
    found = _check_attachment(new)
    if new.get("spec") != old.get("spec"):
        found.append(fields.immutable("spec", internal("storage.v1.VolumeAttachmentSpec", new.get("spec"))))
    return found


def rules() -> dict[GVK, Rules]:
    """The rules of the kinds in this module."""

    def storage(kind: str) -> GVK:
        return GVK("storage.k8s.io", "v1", kind)

    return {
        storage("StorageClass"): Rules(
            default=_default_class,
            validate_create=_check_class,
            check_update=_change_class,
            warn=_warn_class,
            revalidates=True,
        ),
        storage("VolumeAttributesClass"): Rules(
            validate_create=_check_attributes, check_update=_change_attributes, revalidates=True
        ),
        storage("VolumeAttachment"): Rules(
            default=_default_attachment,
            validate_create=_check_attachment,
            check_update=_change_attachment,
            validate_status=_change_attachment,
            revalidates="only",
            has_status=True,
            status_keeps_metadata=True,
            unconditional_update=False,
        ),
    }
