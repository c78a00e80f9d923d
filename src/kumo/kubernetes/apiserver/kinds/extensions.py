"""CustomResourceDefinitions and APIServices."""

from __future__ import annotations

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.api.objects import Object, timestamp
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.aggregation.registrations import LOCAL
from kumo.kubernetes.apiserver.kinds.checks import needed, set_default, spec_of
from kumo.kubernetes.apiserver.kinds.rules import Rules, at

_STATUSES = ("True", "False", "Unknown")


def _default_definition(obj: Object) -> None:
    from kumo.kubernetes.apiserver.custom.reading import read_schemas

    read_schemas(obj)
    spec = spec_of(obj)
    set_default(spec, names={}, conversion={})
    called = spec["names"]
    if kind := called.get("kind"):
        called["singular"] = called.get("singular") or kind.lower()
        called["listKind"] = called.get("listKind") or kind + "List"
    set_default(spec["conversion"], strategy="None")
    service = at(spec, "conversion.webhook.clientConfig.service")
    if service is not None:
        set_default(service, port=443)
    status = obj.get("status")
    if status is not None and not status.get("storedVersions"):
        status["storedVersions"] = _storage_version(obj) or None


def _storage_version(obj: Object) -> list[str]:
    """The name of the (first) storage version, in a list that may be empty."""
    return [v["name"] for v in at(obj, "spec.versions") or () if v.get("storage") and v.get("name")][:1]


def _warn_definition(new: Object, old: Object | None) -> list[str]:
    from kumo.kubernetes.apiserver.custom.unknown_formats import unknown_formats

    known = set(unknown_formats(old)) if old is not None else set()
    return [f"unrecognized format {fields.shown(name)}" for name in unknown_formats(new) if name not in known]


def _create_definition(obj: Object) -> None:
    obj["status"] = {
        "conditions": None,
        "acceptedNames": {"plural": "", "kind": ""},
        "storedVersions": _storage_version(obj) or None,
    }


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
    group, version = spec.get("group") or "", spec.get("version") or ""
    wanted = f"{version}.{group}"
    detail = 'must be `spec.version+"."+spec.group`: ' + fields.shown(wanted)
    found: list[Cause] = []
    for key in ("generateName", "name"):
        if (stated := at(obj, f"metadata.{key}")) and stated != wanted:
            found.append(fields.invalid(f"metadata.{key}", stated, detail))
    if not group and version != "v1":
        why = "only v1 may have an empty group and it better be legacy kube"
        found.append(fields.required("spec.group", why))
    found += fields.each("spec.group", group, names.check_subdomain(group) if group else ())
    found += fields.each("spec.version", version, names.check_label_1035(version))
    for key in ("groupPriorityMinimum", "versionPriority"):
        value = spec.get(key) or 0
        most = 20000 if key == "groupPriorityMinimum" else 1000
        if not 0 < value <= most:
            detail = f"must be positive and less than {most}"
            found.append(fields.invalid(f"spec.{key}", value, detail))
    service, bundle, trusting = spec.get("service"), spec.get("caBundle"), spec.get("insecureSkipTLSVerify")
    if service is None:
        if bundle:
            size = f"{len(bundle) * 3 // 4 - bundle.count('=')} bytes"
            found.append(fields.invalid("spec.caBundle", size, "local APIServices may not have a caBundle"))
        if trusting:
            why = "local APIServices may not have insecureSkipTLSVerify"
            found.append(fields.invalid("spec.insecureSkipTLSVerify", True, why))
        return found
    found += needed(service, "spec.service", "namespace", "name")
    port = service.get("port") or 0
    if wrong := names.check_port(port):
        found.append(fields.invalid("spec.service.port", port, "port is not valid: " + ", ".join(wrong)))
    if trusting and bundle:
        why = "may not be true if caBundle is present"
        found.append(fields.invalid("spec.insecureSkipTLSVerify", True, why))
    return found


def _create_service(obj: Object) -> None:
    """What this server serves itself is there at once."""
    if at(obj, "spec.service") is None:
        obj["status"] = {"conditions": [{**LOCAL, "lastTransitionTime": timestamp()}]}


def _validate_service_status(new: Object, old: Object) -> list[Cause]:
    found: list[Cause] = []
    for index, condition in enumerate(at(new, "status.conditions") or ()):
        status = condition.get("status") or ""
        if status not in _STATUSES:
            found.append(fields.unsupported(f"status.conditions[{index}].status", status, _STATUSES))
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
            warn=_warn_definition,
            unconditional_update=False,
        ),
        GVK("apiregistration.k8s.io", "v1", "APIService"): Rules(
            default=_default_service,
            validate=_validate_service,
            validate_status=_validate_service_status,
            on_create=_create_service,
            unconditional_update=False,
            check_name=names.check_path_segment,
            has_status=True,
            status_keeps_metadata=True,
            any_finalizer=True,
        ),
    }
