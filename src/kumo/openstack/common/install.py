"""Making objects that must exist: custom resource definitions, and anything made once and then the user's own."""

from __future__ import annotations

import asyncio
from typing import Any

from kumo.api.errors import StatusError, is_already_exists, is_conflict, is_not_found
from kumo.api.objects import Object, name_of, namespace_of
from kumo.api.resources import CRDS, GVR
from kumo.machinery.client import Client

_ESTABLISHED_WITHIN = 10.0


def crd(gvr: GVR, kind: str, spec: dict[str, Any], columns: list[tuple[str, str]], *, status: bool = False) -> Object:
    """A definition with one version; `columns` are (name, JSON path) pairs beside the age."""
    properties: dict[str, Any] = {"spec": {"type": "object", **spec}}
    if status:
        properties["status"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    printed = [{"name": n, "type": "string", "jsonPath": p} for n, p in columns]
    printed.append({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"})
    version: dict[str, Any] = {
        "name": gvr.version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}},
        "additionalPrinterColumns": printed,
    }
    if status:
        version["subresources"] = {"status": {}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": gvr.group_resource},
        "spec": {
            "group": gvr.group,
            "scope": "Namespaced" if gvr.namespaced else "Cluster",
            "names": {"plural": gvr.resource, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"},
            "versions": [version],
        },
    }


async def ensure(client: Client, gvr: GVR, obj: Object) -> Object:
    """The object as it is, made if missing; what is there already is left as its owner wants it."""
    try:
        return await client.get(gvr, name_of(obj), namespace_of(obj))
    except StatusError as error:
        if not is_not_found(error):
            raise
    try:
        return await client.create(gvr, obj)
    except StatusError as error:
        if not is_already_exists(error):
            raise
        return await client.get(gvr, name_of(obj), namespace_of(obj))


async def ensure_definition(client: Client, definition: Object) -> None:
    """The definition in this version's form, and its kind served."""
    name = name_of(definition)
    while True:
        found = await ensure(client, CRDS, definition)
        if found["spec"]["versions"] == definition["spec"]["versions"]:
            break
        wanted = {**found, "spec": {**found["spec"], "versions": definition["spec"]["versions"]}}
        try:
            await client.update(CRDS, wanted)
            break
        except StatusError as error:
            if not is_conflict(error):
                raise
    async with asyncio.timeout(_ESTABLISHED_WITHIN):
        while True:
            found = await client.get(CRDS, name)
            conditions = (found.get("status") or {}).get("conditions") or ()
            if any(c["type"] == "Established" and c["status"] == "True" for c in conditions):
                return
            await asyncio.sleep(0.02)
