"""From a CustomResourceDefinition to the resources that it asks to be served. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kumo.api.objects import Object
from kumo.api.resources import ALL_VERBS, GVK, ResourceType, Subresource
from kumo.api.schema import crd_schema
from kumo.kubernetes.apiserver.kinds.custom import custom_strategy
from kumo.kubernetes.apiserver.registry import Resource, Scale

_CHANGE = ("get", "patch", "update")


def resources_of(definition: Object) -> list[Resource]:
    """The served versions of the definition's resource."""
    spec = definition["spec"]
    stored_version = next(v["name"] for v in spec["versions"] if v.get("storage"))
    served = [v for v in spec["versions"] if v.get("served")]
    return [_resource(definition, version, stored_version, len(spec["versions"])) for version in served]


def _resource(definition: Object, version: Mapping[str, Any], stored_version: str, versions: int) -> Resource:
    spec = definition["spec"]
    kind = type_of(spec, version)
    gvk = GVK(spec["group"], version["name"], spec["names"]["kind"])
    source = (version.get("schema") or {}).get("openAPIV3Schema")
    schema = crd_schema(
        source,
        gvk,
        preserve_unknown_fields=bool(spec.get("preserveUnknownFields")),
    )
    below = version.get("subresources") or {}
    selectable = tuple(field["jsonPath"] for field in version.get("selectableFields") or ())
    strategy = custom_strategy(
        gvk,
        schema,
        namespaced=kind.namespaced,
        has_status=below.get("status") is not None,
        selectable=selectable,
        source=source,
        scale=below.get("scale"),
    )
    stored = next(v for v in spec["versions"] if v["name"] == stored_version)
    scale = below.get("scale")
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
        versions=versions,
    )


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
        ALL_VERBS,
        tuple(subresources),
    )


def accepted_names(spec: Object) -> Object:
    """The names with what may be left out."""
    names = dict(spec["names"])
    names.setdefault("singular", names["kind"].lower())
    names.setdefault("listKind", names["kind"] + "List")
    return names


def name_conflict(spec: Object, others: list[Object]) -> tuple[str, str]:
    """Reason and message when a name is another definition's of the same group; empty when all are free."""
    names = accepted_names(spec)
    for other in others:
        theirs = accepted_names(other)
        taken = {theirs["plural"], theirs["singular"], *(theirs.get("shortNames") or ())}
        for key, reason in (("plural", "PluralConflict"), ("singular", "SingularConflict")):
            if names[key] in taken:
                return reason, f'"{names[key]}" is already in use'
        clash = [s for s in names.get("shortNames") or () if s in taken]
        if clash:
            return "ShortNamesConflict", f'"{clash[0]}" is already in use'
        for key, reason in (("kind", "KindConflict"), ("listKind", "ListKindConflict")):
            if names[key] in (theirs["kind"], theirs["listKind"]):
                return reason, f'"{names[key]}" is already in use'
    return "", ""
