"""CustomResourceDefinitions and APIServices."""

from __future__ import annotations

from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.api.objects import Object, name_of
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds.checks import choice, needed, set_default, spec_of
from kumo.kubernetes.apiserver.kinds.rules import Rules, at
from kumo.kubernetes.apiserver.kinds.structural_validation import validate_structural


def _default_definition(obj: Object) -> None:
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


def _create_definition(obj: Object) -> None:
    stored = [v["name"] for v in at(obj, "spec.versions") or () if v.get("storage") and v.get("name")]
    obj["status"] = {"storedVersions": stored}


def _update_definition(new: Object, old: Object) -> None:
    """A version that becomes the storage version is remembered as having been stored."""
    status = dict(new.get("status") or {})
    stored = list(status.get("storedVersions") or ())
    stored += [
        v["name"]
        for v in at(new, "spec.versions") or ()
        if v.get("storage") and v.get("name") and v["name"] not in stored
    ]
    new["status"] = {**status, "storedVersions": stored}


def _validate_definition(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    called = spec.get("names") or {}
    group, plural = spec.get("group") or "", called.get("plural") or ""
    found: list[Cause] = []
    if name_of(obj) != f"{plural}.{group}":
        detail = 'must be spec.names.plural+"."+spec.group'
        found.append(fields.invalid("metadata.name", name_of(obj), detail))
    if not group:
        found.append(fields.required("spec.group"))
    else:
        found += fields.each("spec.group", group, names.check_subdomain(group))
        if "." not in group:
            found.append(fields.invalid("spec.group", group, "should be a domain with at least one dot"))
    found += choice("spec.scope", spec.get("scope"), ("Cluster", "Namespaced"))
    found += _versions(spec)
    found += _names(called)
    strategy = at(spec, "conversion.strategy")
    found += choice("spec.conversion.strategy", strategy, ("None", "Webhook"))
    if strategy == "Webhook" and at(spec, "conversion.webhook.clientConfig") is None:
        detail = "required when strategy is set to Webhook"
        found.append(fields.required("spec.conversion.webhook.clientConfig", detail))
    return found


def _versions(spec: dict[str, Any]) -> list[Cause]:
    versions = spec.get("versions") or []
    found: list[Cause] = []
    stored, served, seen = 0, 0, set()
    for index, version in enumerate(versions):
        here = f"spec.versions[{index}]"
        name = version.get("name") or ""
        found += fields.each(f"{here}.name", name, names.check_label_1035(name))
        seen.add(name)
        stored += bool(version.get("storage"))
        served += bool(version.get("served"))
        schema = at(version, "schema.openAPIV3Schema")
        if schema is None:
            found.append(fields.required(f"{here}.schema.openAPIV3Schema", "schemas are required"))
        else:
            found += validate_structural(f"{here}.schema.openAPIV3Schema", schema)
        for number, column in enumerate(version.get("additionalPrinterColumns") or ()):
            below = f"{here}.additionalPrinterColumns[{number}]"
            found += needed(column, below, "name", "jsonPath")
            kinds = ("boolean", "date", "integer", "number", "string")
            found += choice(f"{below}.type", column.get("type"), kinds)
        scale = at(version, "subresources.scale")
        if scale is not None:
            found += needed(scale, f"{here}.subresources.scale", "specReplicasPath", "statusReplicasPath")
    if len(seen) < len(versions):
        found.append(fields.invalid("spec.versions", versions, "must contain unique version names"))
    if stored != 1:
        detail = "must have exactly one version marked as storage version"
        found.append(fields.invalid("spec.versions", versions, detail))
    return found


def _names(called: dict[str, Any]) -> list[Cause]:
    found: list[Cause] = []
    for key in ("plural", "singular", "kind", "listKind"):
        value = called.get(key) or ""
        if not value:
            found.append(fields.required(f"spec.names.{key}"))
        else:
            found += fields.each(f"spec.names.{key}", value, names.check_label_1035(value.lower()))
    for key in ("shortNames", "categories"):
        for index, value in enumerate(called.get(key) or ()):
            found += fields.each(f"spec.names.{key}[{index}]", value, names.check_label_1035(value))
    if called.get("kind") and called.get("kind") == called.get("listKind"):
        detail = "kind and listKind may not be the same"
        found.append(fields.invalid("spec.names.listKind", called["listKind"], detail))
    return found


def _validate_definition_update(new: Object, old: Object) -> list[Cause]:
    found: list[Cause] = []
    for path in ("spec.group", "spec.names.plural"):
        if at(new, path) != at(old, path):
            found.append(fields.immutable(path, at(new, path)))
    established = any(
        c.get("type") == "Established" and c.get("status") == "True" for c in at(old, "status.conditions") or ()
    )
    if established:
        for path in ("spec.scope", "spec.names.kind"):
            if at(new, path) != at(old, path):
                found.append(fields.immutable(path, at(new, path)))
    known = {v.get("name") for v in at(new, "spec.versions") or ()}
    for index, stored in enumerate(at(new, "status.storedVersions") or ()):
        if stored not in known:
            detail = "must appear in spec.versions"
            found.append(fields.invalid(f"status.storedVersions[{index}]", stored, detail))
    return found


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
            validate=_validate_definition,
            validate_update=_validate_definition_update,
            has_status=True,
            has_generation=True,
        ),
        GVK("apiregistration.k8s.io", "v1", "APIService"): Rules(
            default=_default_service,
            validate=_validate_service,
            check_name=names.check_path_segment,
            has_status=True,
        ),
    }
