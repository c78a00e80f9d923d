"""CustomResourceDefinitions and APIServices."""

from __future__ import annotations

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.api.objects import Object, name_of
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds.checks import needed, set_default, spec_of
from kumo.kubernetes.apiserver.kinds.rules import Rules, at


def _default_definition(obj: Object) -> None:
    from kumo.kubernetes.apiserver.custom.reading import read_schemas

    read_schemas(obj)
    spec = spec_of(obj)
    set_default(spec, names={}, conversion={})
    called = spec["names"]
    if not called.get("singular"):
        called["singular"] = (called.get("kind") or "").lower()
    if not called.get("listKind") and called.get("kind"):
        called["listKind"] = called["kind"] + "List"
    set_default(spec["conversion"], strategy="None")
    service = at(spec, "conversion.webhook.clientConfig.service")
    if service is not None:
        set_default(service, port=443)


def _storage_version(obj: Object) -> list[str]:
    """The name of the (first) storage version, in a list that may be empty."""
    return [v["name"] for v in at(obj, "spec.versions") or () if v.get("storage") and v.get("name")][:1]


def _create_definition(obj: Object) -> None:
    stored = _storage_version(obj)
    obj["status"] = {"acceptedNames": {"plural": "", "kind": ""}}
    if stored:
        obj["status"]["storedVersions"] = stored


def _update_definition(new: Object, old: Object) -> None:
    """A version that becomes the storage version is remembered as having been stored."""
    status = dict(new.get("status") or {})
    stored = list(status.get("storedVersions") or ())
    stored += [name for name in _storage_version(new) if name not in stored]
    new["status"] = {**status, "storedVersions": stored}


def _validate_definition(obj: Object) -> list[Cause]:
    from kumo.kubernetes.apiserver.custom.definition import validate_definition

    return validate_definition(obj)


def _validate_definition_update(new: Object, old: Object) -> list[Cause]:
    from kumo.kubernetes.apiserver.custom.definition import validate_definition

    return validate_definition(new, old)


def _default_service(obj: Object) -> None:
    service = at(obj, "spec.service")
    if service is not None:
        set_default(service, port=443)


def _validate_service(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    wanted = f"{spec.get('version') or ''}.{spec.get('group') or ''}"
    found: list[Cause] = []
    if name_of(obj) != wanted:
        detail = 'must be `spec.version+"."+spec.group`: "' + wanted + '"'
        found.append(fields.invalid("metadata.name", name_of(obj), detail))
    for key in ("groupPriorityMinimum", "versionPriority"):
        value = spec.get(key) or 0
        most = 20000 if key == "groupPriorityMinimum" else 1000
        if not 0 < value <= most:
            detail = f"must be positive and less than {most}"
            found.append(fields.invalid(f"spec.{key}", value, detail))
    service = spec.get("service")
    if service is not None:
        found += needed(service, "spec.service", "namespace", "name")
        if spec.get("insecureSkipTLSVerify") and spec.get("caBundle"):
            detail = "may not be true if caBundle is present"
            found.append(fields.invalid("spec.insecureSkipTLSVerify", True, detail))
    return found


def rules() -> dict[GVK, Rules]:
    """The rules of the kinds in this module."""
    return {
        GVK("apiextensions.k8s.io", "v1", "CustomResourceDefinition"): Rules(
            default=_default_definition,
            on_create=_create_definition,
            on_update=_update_definition,
            validate_create=_validate_definition,
            check_update=_validate_definition_update,
            has_status=True,
            has_generation=True,
            any_finalizer=True,
        ),
        GVK("apiregistration.k8s.io", "v1", "APIService"): Rules(
            default=_default_service,
            validate=_validate_service,
            check_name=names.check_path_segment,
            has_status=True,
            any_finalizer=True,
        ),
    }
