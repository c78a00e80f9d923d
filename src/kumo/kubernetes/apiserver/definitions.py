"""From a CustomResourceDefinition to the resources that it asks to be served. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kumo.api.objects import Object
from kumo.api.resources import GVK, ResourceType, Subresource
from kumo.api.schema import CustomKindSchema, crd_schema
from kumo.kubernetes.apiserver.conversion.versions import Versions
from kumo.kubernetes.apiserver.discovery import version_order
from kumo.kubernetes.apiserver.kinds.custom import custom_strategy
from kumo.kubernetes.apiserver.registry import Resource, Scale
from kumo.kubernetes.apiserver.splice import beginning

if TYPE_CHECKING:
    from kumo.kubernetes.apiserver.conversion.conversions import Conversion

_CHANGE = ("get", "patch", "update")
_VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
"""In the order of upstream's discovery."""


def family_of(definition: Object, revision: int = 0, conversion: Conversion | None = None) -> dict[str, Resource]:
    """The definition's resource in each of its versions, served or not. `revision` is that of the definition.

    `conversion` is that of a definition whose objects a webhook converts.
    """
    spec = definition["spec"]
    stored = next(v for v in spec["versions"] if v.get("storage"))
    schemas = {v["name"]: _schema(spec, v) for v in spec["versions"]}
    versions = Versions(schemas, stored["name"], conversion.raw if conversion is not None else None)
    family: dict[str, Resource] = {}
    for version in spec["versions"]:
        made = _resource(definition, version, stored, schemas[version["name"]], versions, revision)
        family[version["name"]] = replace(made, conversion=conversion, family=family, forms=versions)
    return family


def _schema(spec: Object, version: Mapping[str, Any]) -> CustomKindSchema:
    return crd_schema(
        (version.get("schema") or {}).get("openAPIV3Schema"),
        GVK(spec["group"], version["name"], spec["names"]["kind"]),
        preserve_unknown_fields=bool(spec.get("preserveUnknownFields")),
    )


def _resource(
    definition: Object,
    version: Mapping[str, Any],
    stored: Mapping[str, Any],
    schema: CustomKindSchema,
    versions: Versions,
    revision: int,
) -> Resource:
    spec, name = definition["spec"], version["name"]
    kind = type_of(spec, version)
    gvk = GVK(spec["group"], name, spec["names"]["kind"])
    below = version.get("subresources") or {}
    scale = below.get("scale")
    strategy = custom_strategy(
        gvk,
        schema,
        namespaced=kind.namespaced,
        has_status=below.get("status") is not None,
        selectable=tuple(field["jsonPath"] for field in version.get("selectableFields") or ()),
        source=(version.get("schema") or {}).get("openAPIV3Schema"),
        scale=scale,
        terminating=bool(definition["metadata"].get("deletionTimestamp")),
        resource=spec["names"]["plural"],
    )
    own = name == stored["name"]
    simple = len(spec["versions"]) == 1 and (definition["metadata"].get("generation") or 1) == 1
    return Resource(
        kind,
        type_of(spec, stored),
        schema,
        strategy,
        columns=tuple(version.get("additionalPrinterColumns") or ()),
        custom=definition,
        scale=Scale(scale["specReplicasPath"], scale["statusReplicasPath"], scale.get("labelSelectorPath") or "")
        if scale
        else None,
        to_stored=None if own else versions.to_stored,
        from_stored=None if simple else versions.into(name),
        fresh_from=revision + 1 if own else 0,
        head=beginning(gvk.api_version),
        deprecated=_deprecation(gvk, version, spec["versions"]),
        versions=len(spec["versions"]),
    )


def _deprecation(gvk: GVK, version: Mapping[str, Any], versions: Iterable[Mapping[str, Any]]) -> str:
    """What clients of a deprecated version are told: its own words, or what to use instead."""
    if not version.get("deprecated"):
        return ""
    if version.get("deprecationWarning"):
        return str(version["deprecationWarning"])
    good = sorted((v["name"] for v in versions if v.get("served") and not v.get("deprecated")), key=version_order)
    newer = [name for name in good if version_order(name) < version_order(gvk.version)]
    instead = f"; use {gvk.group}/{newer[0]} {gvk.kind}" if newer else ""
    return f"{gvk.api_version} {gvk.kind} is deprecated{instead}"


def type_of(spec: Object, version: Mapping[str, Any]) -> ResourceType:
    """How the resource is listed by discovery in that version."""
    names = spec["names"]
    below = version.get("subresources") or {}
    subresources = []
    if below.get("status") is not None:
        subresources.append(Subresource("status", _CHANGE))
    if below.get("scale") is not None:
        subresources.append(Subresource("scale", _CHANGE, "Scale", "autoscaling", "v1"))
    return ResourceType(
        spec["group"],
        version["name"],
        names["kind"],
        names["plural"],
        names.get("singular") or names["kind"].lower(),
        spec["scope"] == "Namespaced",
        tuple(names.get("shortNames") or ()),
        tuple(names.get("categories") or ()),
        _VERBS,
        tuple(subresources),
    )


def wanted_names(spec: Object) -> Object:
    """The names with what may be left out."""
    names = dict(spec["names"])
    names.setdefault("singular", names["kind"].lower())
    names.setdefault("listKind", names["kind"] + "List")
    return names


def accept_names(definition: Object, others: list[Object]) -> tuple[Object, str, str]:
    """The names that the definition has from now on; reason and message of a conflict, or empty texts.

    A name is free when no other definition of the group has it among its accepted names; those that are not free stay
    as they were. `others` are those definitions, whole.
    """
    resources: set[str] = set()
    kinds: set[str] = set()
    for other in others:
        theirs = (other.get("status") or {}).get("acceptedNames") or {}
        resources |= {theirs.get("plural") or "", theirs.get("singular") or "", *(theirs.get("shortNames") or ())}
        kinds |= {theirs.get("kind") or "", theirs.get("listKind") or ""}
    wanted = wanted_names(definition["spec"])
    had: Object = (definition.get("status") or {}).get("acceptedNames") or {}
    found: Object = dict(had)
    reason = message = ""
    for key, taken, why in (
        ("plural", resources, "PluralConflict"),
        ("singular", resources, "SingularConflict"),
        ("shortNames", resources, "ShortNamesConflict"),
        ("kind", kinds, "KindConflict"),
        ("listKind", kinds, "ListKindConflict"),
    ):
        clashes = _clashes(wanted.get(key), had.get(key), taken)
        if clashes:
            texts = [f'"{name}" is already in use' for name in clashes]
            reason, message = why, texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
        elif wanted.get(key):
            found[key] = wanted[key]
        else:
            found.pop(key, None)
    if wanted.get("categories"):
        found["categories"] = wanted["categories"]
    else:
        found.pop("categories", None)
    return found, reason, message


def _clashes(wanted: Any, had: Any, taken: set[str]) -> list[str]:
    if isinstance(wanted, list):
        return [name for name in wanted if name not in (had or ()) and name in taken]
    return [wanted] if wanted and wanted != had and wanted in taken else []
