"""JSON patches of webhooks: what they do, and upstream's words when they can't."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.kubernetes.apiserver.admission.webhooks.patches import PatchFailed, apply

pytestmark = pytest.mark.unit

OBJECT: dict[str, Any] = {"metadata": {"name": "a"}, "data": {"a": "b", "x/y": "z"}, "list": [1, 2]}


@pytest.mark.parametrize(
    ("operation", "path", "wanted"),
    [
        ({"op": "add", "path": "/data/c", "value": "d"}, ("data", "c"), "d"),
        ({"op": "replace", "path": "/data/x~1y", "value": "q"}, ("data", "x/y"), "q"),
        ({"op": "add", "path": "/list/-", "value": 3}, ("list",), [1, 2, 3]),
        ({"op": "add", "path": "/list/0", "value": 0}, ("list",), [0, 1, 2]),
        ({"op": "remove", "path": "/list/1"}, ("list",), [1]),
        ({"op": "move", "from": "/data/a", "path": "/data/b"}, ("data",), {"b": "b", "x/y": "z"}),
        ({"op": "copy", "from": "/data/a", "path": "/data/b"}, ("data", "b"), "b"),
        ({"op": "test", "path": "/data/a", "value": "b"}, ("data", "a"), "b"),
    ],
)
def test_applies(operation: dict[str, Any], path: tuple[str, ...], wanted: Any) -> None:
    found: Any = apply(OBJECT, [operation])
    for step in path:
        found = found[step]
    assert found == wanted
    assert OBJECT["list"] == [1, 2]
    assert OBJECT["data"] == {"a": "b", "x/y": "z"}


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (
            {"op": "remove", "path": "/data/zz"},
            "error in remove for path: '/data/zz': Unable to remove nonexistent key: zz: missing value",
        ),
        ({"op": "frob", "path": "/data"}, "Unexpected kind: frob"),
        ({"op": "test", "path": "/data/a", "value": "zz"}, "testing value /data/a failed: test failed"),
        ({"op": "test", "path": "/list/0", "value": True}, "testing value /list/0 failed: test failed"),
        (
            {"op": "add", "path": "/spec/a", "value": 1},
            'add operation does not apply: doc is missing path: "/spec/a": missing value',
        ),
        (
            {"op": "replace", "path": "/data/zz", "value": 1},
            "replace operation does not apply: doc is missing key: /data/zz: missing value",
        ),
        (
            {"op": "add", "path": "/list/9", "value": 1},
            "error in add for path: '/list/9': Unable to access invalid index: 9: invalid index referenced",
        ),
        ({"op": "add"}, "add operation failed to decode path: missing value"),
        ({"op": "replace", "path": "", "value": 3}, "replace operation value must be object or array"),
        (7, "json: cannot unmarshal into Go value of type jsonpatch.Operation"),
    ],
)
def test_refuses(operation: Any, message: str) -> None:
    with pytest.raises(PatchFailed) as caught:
        apply(OBJECT, [operation])
    assert str(caught.value) == message


def test_many_operations_are_refused() -> None:
    with pytest.raises(PatchFailed, match="at most"):
        apply(OBJECT, [{"op": "test", "path": "/data/a", "value": "b"}] * 10_001)
