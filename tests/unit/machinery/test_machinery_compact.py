"""Decoding for those who keep many objects: what it shares, what it leaves out, and that it loses nothing else."""

from __future__ import annotations

import copy
import json
from typing import Any

import msgspec
import pytest

from kumo.machinery.compact import CompactDecoding

pytestmark = pytest.mark.unit


def pod(name: str, **spec: Any) -> dict[str, Any]:
    env = [{"name": f"SETTING_{n}", "value": "of some length"} for n in range(30)]
    mounts = [{"name": f"token-{name}", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]
    main = {"name": "main", "image": "registry.example.com/web:1", "env": env, "volumeMounts": mounts}
    meta = {
        "name": name,
        "labels": {"app": "web", "pod-template-hash": "5d9c"},
        "managedFields": [{"manager": "someone", "fieldsV1": {"f:metadata": {"f:labels": {".": {}}}}}],
    }
    body = {"containers": [main], "tolerations": [{"key": "node.example.com/away", "operator": "Exists"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": body | spec, "status": {"phase": "Pending"}}


def event(found: Any) -> bytes:
    return json.dumps({"type": "ADDED", "object": found}).encode()


def without_managers(found: dict[str, Any]) -> dict[str, Any]:
    meta = {k: v for k, v in found["metadata"].items() if k != "managedFields"}
    return {**found, "metadata": meta}


def test_what_pods_have_alike_is_one_object() -> None:
    decoding = CompactDecoding()
    first, second = (decoding.event(event(pod(name)))["object"] for name in "ab")
    assert (first, second) == tuple(without_managers(pod(name)) for name in "ab")
    one, other = first["spec"]["containers"][0], second["spec"]["containers"][0]
    assert one["env"] is other["env"] and first["metadata"]["labels"] is second["metadata"]["labels"]
    assert one["volumeMounts"] != other["volumeMounts"]
    assert first["status"] is not second["status"] and first["spec"] is not second["spec"]
    listed = {
        "apiVersion": "v1",
        "kind": "PodList",
        "metadata": {"resourceVersion": "7"},
        "items": [pod("c"), pod("d")],
    }
    found = decoding.listing(json.dumps(listed).encode())
    assert found == {**listed, "items": [without_managers(pod(name)) for name in "cd"]}
    assert found["items"][1]["spec"]["containers"][0]["env"] is one["env"]


def test_a_copy_of_an_object_has_no_two_fields_that_are_one() -> None:
    """`copy.deepcopy` keeps ties within what it copies: a change of one field would be one of the other too."""
    decoding = CompactDecoding()
    alike = {"labels": {"application": "a web server"}, "annotations": {"application": "a web server"}}
    main = pod("a")["spec"]["containers"][0]
    containers = {"containers": [main, main], "initContainers": [main]}
    spec = {"selector": {"application": "a web server"}, "nodeSelector": {"application": "a web server"}}
    found = {**pod("a", **spec, **containers), "metadata": {"name": "a", **alike}}
    for _ in range(2):
        made = copy.deepcopy(decoding.event(event(found))["object"])
        made["metadata"]["labels"]["new"] = "label"
        made["spec"]["selector"]["new"] = "term"
        made["spec"]["containers"][0]["env"].append({"name": "NEW"})
        made["spec"]["initContainers"][0]["volumeMounts"].clear()
        assert made["metadata"]["annotations"] == made["spec"]["nodeSelector"] == alike["annotations"]
        assert made["metadata"]["labels"].keys() == {"application", "new"}
        assert made["spec"]["containers"][1] == main
        assert made["spec"]["containers"][0]["volumeMounts"] == main["volumeMounts"]


def test_what_is_met_again_is_remembered_through_much_that_is_not() -> None:
    decoding = CompactDecoding()
    first = decoding.event(event(pod("a")))["object"]
    for number in range(400):
        found = decoding.event(event(pod(f"x{number}", hostname=f"{number}" * 1000)))["object"]
    assert found["spec"]["containers"][0]["env"] is first["spec"]["containers"][0]["env"]
    assert sum(len(text) for *_, text in (*decoding._new, *decoding._old)) < 1 << 21


@pytest.mark.parametrize(
    "found",
    [
        {"kind": "Status", "code": 410, "message": "too old"},
        {"kind": "Thing", "metadata": {"name": "a", "managedFields": None}, "spec": "x" * 2000},
        {"kind": "Thing", "metadata": {"name": "a", "labels": None}, "spec": {"containers": {"a": "b" * 2000}}},
        {"kind": "Thing", "metadata": {"name": "a"}, "spec": {"containers": [None, "x" * 2000]}},
        {"kind": "Thing", "metadata": None, "spec": None, "data": {"text": "\u00e4\n\"" * 1000, "number": 1.5e300}},
        {"kind": "Thing", "metadata": {"name": "a"}, "spec": {"list": ["z" * 20000], "zero": 0, "null": None}},
    ],
)  # fmt: skip
def test_objects_of_every_shape_are_decoded_as_json_is(found: Any) -> None:
    wanted = without_managers(found) if isinstance(found.get("metadata"), dict) else found
    assert CompactDecoding().event(event(found)) == {"type": "ADDED", "object": wanted}


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"type": "ADDED"}', b'{"type": "ADDED", "object": {'])
def test_nonsense_is_refused(text: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        CompactDecoding().event(text)
