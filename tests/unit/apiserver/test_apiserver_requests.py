"""What is read off a request: paths, accepted forms, bodies, continue tokens."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumo.api.errors import StatusError
from kumo.api.go_text import go_value
from kumo.kubernetes.apiserver import bodies
from kumo.kubernetes.apiserver.attributes import RequestInfo
from kumo.kubernetes.apiserver.negotiation import accepted
from kumo.kubernetes.apiserver.pagination import Position, decode_token, encode_token
from kumo.kubernetes.apiserver.request_info import request_info
from kumo.kubernetes.apiserver.responses import warning_headers
from kumo.machinery.http import HeaderLines, Response
from kumo.machinery.listener.replies import head

pytestmark = pytest.mark.unit


def info(
    verb: str, group: str, version: str, namespace: str, resource: str, name: str = "", sub: str = ""
) -> tuple[str, ...]:
    return (verb, group, version, namespace, resource, name, sub)


def short(found: RequestInfo) -> tuple[str, ...]:
    return info(found.verb, found.group, found.version, found.namespace, found.resource, found.name, found.subresource)


@pytest.mark.parametrize(
    ("method", "target", "wanted"),
    [
        ("GET", "/api/v1/pods", info("list", "", "v1", "", "pods")),
        ("GET", "/api/v1/pods?watch=true", info("watch", "", "v1", "", "pods")),
        ("GET", "/api/v1/pods?watch=0", info("list", "", "v1", "", "pods")),
        ("GET", "/api/v1/watch/pods", info("watch", "", "v1", "", "pods")),
        ("GET", "/api/v1/namespaces", info("list", "", "v1", "", "namespaces")),
        ("GET", "/api/v1/namespaces/n", info("get", "", "v1", "n", "namespaces", "n")),
        ("PUT", "/api/v1/namespaces/n/finalize", info("update", "", "v1", "n", "namespaces", "n", "finalize")),
        ("PATCH", "/api/v1/namespaces/n/status", info("patch", "", "v1", "n", "namespaces", "n", "status")),
        ("POST", "/api/v1/namespaces/n/pods", info("create", "", "v1", "n", "pods")),
        ("DELETE", "/api/v1/namespaces/n/pods", info("deletecollection", "", "v1", "n", "pods")),
        ("DELETE", "/api/v1/namespaces/n/pods/p", info("delete", "", "v1", "n", "pods", "p")),
        ("GET", "/api/v1/namespaces/n/pods/p/log", info("get", "", "v1", "n", "pods", "p", "log")),
        ("GET", "/apis/apps/v1/namespaces/n/deployments/d", info("get", "apps", "v1", "n", "deployments", "d")),
        (
            "GET",
            "/apis/apps/v1/deployments?fieldSelector=metadata.name%3Dd",
            info("list", "apps", "v1", "", "deployments", "d"),
        ),
        (
            "GET",
            "/apis/apps/v1/deployments?fieldSelector=metadata.name!%3Dd",
            info("list", "apps", "v1", "", "deployments"),
        ),
        ("HEAD", "/api/v1/nodes/n", info("get", "", "v1", "", "nodes", "n")),
        ("GET", "/healthz", info("get", "", "", "", "")),
        ("GET", "/api/v1", info("get", "", "", "", "")),
        ("GET", "/apis/apps/v1", info("get", "", "", "", "")),
        ("GET", "/", info("get", "", "", "", "")),
    ],
)
def test_request_info(method: str, target: str, wanted: tuple[str, ...]) -> None:
    path, _, query = target.partition("?")
    assert short(request_info(method, path, query)) == wanted


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("", ("", "v1", False)),
        ("*/*", ("", "v1", False)),
        ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", ("Table", "v1", False)),
        ("application/json;as=Table;v=v1beta1;g=meta.k8s.io", ("Table", "v1beta1", False)),
        ("application/json;as=Nonsense;v=v1;g=meta.k8s.io,application/json", ("", "v1", False)),
        ("application/json;q=0.1,application/yaml;q=0.9", ("", "v1", True)),
        ("application/vnd.kubernetes.protobuf,application/json", ("", "v1", False)),
        ("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1", ("PartialObjectMetadata", "v1", False)),
    ],
)
def test_accepted(header: str, wanted: tuple[str, str, bool]) -> None:
    assert tuple(accepted(header)) == wanted


@pytest.mark.parametrize("header", ["text/html", "application/vnd.kubernetes.protobuf"])
def test_not_acceptable(header: str) -> None:
    with pytest.raises(StatusError) as refused:
        accepted(header)
    assert refused.value.code == 406


def test_tokens() -> None:
    for position in (Position(5, "ns", "n"), Position(5, "", "n"), Position(-1, "a-b", "c.d")):
        assert decode_token(encode_token(position)) == position
    for text in ("x", "", "e30", "bnVsbA"):
        with pytest.raises(StatusError) as refused:
            decode_token(text)
        assert refused.value.code == 400


def test_yaml_is_json() -> None:
    text = b"a: yes\nb: 012\nc: 2001-01-01\nd: 1.5\ne: ~\n1: x\nf: &x {z: [1], y: 2}\ng: *x\n"
    assert bodies.decode_yaml(text, "K") == {
        "a": True,
        "b": 10,
        "c": "2001-01-01",
        "d": 1.5,
        "e": None,
        "1": "x",
        "f": {"z": [1], "true": 2},
        "g": {"z": [1], "true": 2},
    }
    assert bodies.decode_yaml(b'{"a": 1}', "K") == {"a": 1}


@pytest.mark.parametrize("text", [b"a: [", b"a: &a [*a]", b"!!python/object:os.system {}", b"- " * 2000, b"{" * 5000])
def test_bad_yaml(text: bytes) -> None:
    with pytest.raises(StatusError) as refused:
        bodies.decode_yaml(text, "Pod")
    assert refused.value.code == 400
    assert refused.value.message.startswith("the object provided is unrecognized (must be of type Pod)")


def test_duplicates() -> None:
    text = b'{"a":1,"b":{"c":1,"c":2,"d":[{"e":1,"e":1}]},"a":2}'
    assert bodies.duplicates(text, bodies.decode_json(text, "K")) == ["b.c", "b.d[0].e", "a"]
    clean = b'{ "a" : "quote \\" and \\u0022", "b": {} }'
    assert bodies.duplicates(clean, bodies.decode_json(clean, "K")) == []


leaves = st.none() | st.integers() | st.sampled_from(["", "{", "[[", "{}", "}{", '"[]"'])
wide = st.recursive(
    leaves, lambda below: st.lists(below, max_size=6) | st.dictionaries(st.sampled_from("ab{["), below), max_leaves=300
)


def depth_of(value: Any) -> int:
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if below is None else 1 + max(map(depth_of, below), default=0)


@given(st.lists(wide, max_size=8), st.integers(150, 250), st.booleans())
def test_deep_values_are_told_by_brackets_where_these_suffice(beside: list[Any], nested: int, maps: bool) -> None:
    deep: Any = beside
    for _ in range(nested):
        deep = {"a": deep} if maps else [deep]
    value = [*beside, deep]
    assert bodies.is_deep(msgspec.json.encode(value), value) == (depth_of(value) > bodies.MAX_DEPTH + 1)
    assert not bodies.is_deep(msgspec.json.encode(beside), beside)


def test_go_values() -> None:
    assert go_value({"b": [1, "x", None], "a": {"c": True, "d": 1.5}}) == "map[a:map[c:true d:1.5] b:[1 x <nil>]]"


def test_warnings() -> None:
    assert warning_headers([]) == {}
    said = warning_headers(['a "b"', "c\n", 'a "b"'])
    assert said == {"Warning": '299 - "a \\"b\\"", 299 - "c"'}
    written = head(Response(headers=said), 0)
    assert b'\r\nWarning: 299 - "a \\"b\\""\r\nWarning: 299 - "c"\r\n' in written


def test_no_line_of_a_header_breaks_out() -> None:
    with pytest.raises(ValueError, match="line break"):
        head(Response(headers={"X": HeaderLines(["a", "b\r\nEvil: c"])}), 0)
