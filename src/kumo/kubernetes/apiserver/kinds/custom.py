"""The strategy of a custom kind: what its CustomResourceDefinition says, applied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kumo.api.errors import Cause
from kumo.api.json_path import JsonPath
from kumo.api.objects import Object
from kumo.api.resources import GVK
from kumo.api.schema import KindSchema
from kumo.kubernetes.apiserver.kinds.rules import Rules, as_field
from kumo.kubernetes.apiserver.kinds.strategy import Strategy


@dataclass(frozen=True, slots=True)
class _Custom:
    """The schema's part in the rules."""

    schema: KindSchema

    def default(self, obj: Object) -> None:
        self.schema.apply_defaults(obj)

    def validate(self, obj: Object) -> list[Cause]:
        return self.schema.validate(obj)

    def validate_status(self, new: Object, old: Object) -> list[Cause]:
        return self.schema.validate(new, old)


def custom_strategy(
    gvk: GVK, schema: KindSchema, *, namespaced: bool, has_status: bool, selectable: tuple[str, ...] = ()
) -> Strategy:
    """The strategy of a custom kind.

    `has_status`: the status subresource is on, and with it status apart from spec; the generation counts spec changes
    either way. `selectable`: the JSON paths of `selectableFields` (`.spec.color`).
    """
    custom = _Custom(schema)
    rules = Rules(
        default=custom.default,
        validate=custom.validate,
        validate_status=custom.validate_status,
        has_status=has_status,
        empty_status=False,
        has_generation=True,
        status_keeps_metadata=True,
        any_finalizer=True,
        fields={path.lstrip("."): _reader(path) for path in selectable},
    )
    return Strategy(gvk, namespaced, rules)


def _reader(path: str) -> Callable[[Object], str]:
    compiled = JsonPath(path)

    def read(obj: Object) -> str:
        found = compiled.find(obj)
        return as_field(found[0]) if found else ""

    return read
