"""What a MutatingAdmissionPolicy's mutation does to an object: an apply configuration laid over it, or a JSON patch."""

from __future__ import annotations

from typing import Any

from kumo.api.objects import Object
from kumo.api.patch.configuration import check
from kumo.api.patch.shapes import Shape, shape_of
from kumo.api.patch.typed import TypedError, merge
from kumo.api.schema import KindSchema
from kumo.kubernetes.apiserver.admission.webhooks.patches import PatchFailed, apply


class MutationFailed(Exception):
    """The mutation cannot be done; the message is upstream's."""


def apply_configuration(obj: Object, configuration: Any, schema: KindSchema) -> Object:
    """The object with the configuration merged in, lists of maps by their keys. Raises MutationFailed.

    What a schema has as atomic may not be mentioned: a part of it would silently replace the whole.
    """
    if not isinstance(configuration, dict):
        raise MutationFailed("unsupported return type from ApplyConfiguration expression")
    wanted = {**configuration, "apiVersion": obj.get("apiVersion"), "kind": obj.get("kind")}
    shape = shape_of(schema.root)
    try:
        check(shape, wanted)
    except TypedError as error:
        raise MutationFailed(f"error applying patch: failed to convert patch object to typed object: {error}") from None
    found = list(_atomics(shape, wanted, ""))
    if found:
        why = "may not mutate atomic arrays, maps or structs: " + ", ".join(found)
        raise MutationFailed(f"error applying patch: invalid ApplyConfiguration: {why}")
    merged: Object = merge(shape, obj, wanted)
    return merged


def _atomics(shape: Shape, value: Any, path: str) -> list[str]:
    found = []
    if isinstance(value, dict):
        if shape.kind == "leaf" and shape.node is not None and shape.node.type == "object":
            found.append(path)
        for name, child in value.items():
            below = shape.fields.get(name) if shape.kind == "map" else None
            if below is not None:
                found += _atomics(below, child, f"{path}.{name}")
    elif isinstance(value, list):
        if shape.kind == "leaf":
            found.append(path)
        elif shape.kind == "items":
            for index, item in enumerate(value):
                found += _atomics(shape.item, item, f"{path}[{index}]")
    return found


def apply_operations(obj: Object, operations: Any) -> Object:
    """The object with the JSON patch applied; as it was when a `test` fails. Raises MutationFailed."""
    if not isinstance(operations, list):
        raise MutationFailed("type mismatch: JSONPatchType.expression should evaluate to array")
    try:
        return apply(obj, operations)
    except PatchFailed as error:
        if str(error).endswith("test failed"):
            return obj
        raise MutationFailed(f"JSON Patch: {error}") from None
