"""Types of one name from two schemas: each expression is checked against its own."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.machinery.cel import types
from kumo.machinery.cel.schemas import schema_type

pytestmark = pytest.mark.unit


def _items(field: str) -> dict[str, Any]:
    return {"type": "array", "items": {"type": "object", "properties": {field: {"type": "string"}}}}


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"type": "object", "additionalProperties": s}])
def test_cel_lists_of_objects_have_the_fields_of_their_own_schema(wrap: Any) -> None:
    one, two = schema_type(wrap(_items("one"))), schema_type(wrap(_items("two")))
    inner_one, inner_two = one, two
    while inner_one.kind in ("list", "map"):
        inner_one, inner_two = inner_one.parameters[-1], inner_two.parameters[-1]
    assert (set(inner_one.fields), set(inner_two.fields)) == ({"one"}, {"two"})


def test_cel_plain_types_are_made_once() -> None:
    assert types.list_of(types.STRING) is types.list_of(types.STRING)
    assert types.map_of(types.STRING, types.DYN) is types.map_of(types.STRING, types.DYN)
