"""Bodies in protobuf: built by hand from the wire format."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumo.kubernetes.apiserver.protobuf import ProtobufError, decode
from kumo.kubernetes.apiserver.protobuf.table import fields_of

pytestmark = pytest.mark.unit


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = b""
    while True:
        out += bytes([number & 0x7F | (0x80 if number > 0x7F else 0)])
        number >>= 7
        if not number:
            return out


def field(number: int, value: bytes | str | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def body(version: str, kind: str, message: bytes) -> bytes:
    return b"k8s\0" + field(1, field(1, version) + field(2, kind)) + field(2, message) + field(3, "") + field(4, "")


def test_a_pod() -> None:
    meta = field(1, "p") + field(2, "") + field(8, b"") + field(11, field(1, "a") + field(2, "b")) + field(14, "x/y")
    port = field(1, "") + field(2, 0) + field(3, 80) + field(4, "TCP")
    quantity = field(1, field(1, "cpu") + field(2, field(1, "100m")))
    probe = field(1, field(2, field(1, "/") + field(2, field(1, 1) + field(2, 0) + field(3, "http")))) + field(2, 5)
    container = field(1, "c") + field(2, "img") + field(6, port) + field(8, quantity) + field(10, probe) + field(16, 0)
    volume = field(1, "v") + field(2, field(2, b""))
    spec = field(1, volume) + field(2, container) + field(4, 0) + field(11, 0) + field(7, field(1, "k") + field(2, ""))
    found = decode(body("v1", "Pod", field(1, meta) + field(2, spec) + field(3, b"")))
    assert found == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "labels": {"a": "b"}, "finalizers": ["x/y"]},
        "spec": {
            "volumes": [{"name": "v", "emptyDir": {}}],
            "containers": [
                {
                    "name": "c",
                    "image": "img",
                    "ports": [{"containerPort": 80, "protocol": "TCP"}],
                    "resources": {"limits": {"cpu": "100m"}},
                    "livenessProbe": {"httpGet": {"path": "/", "port": "http"}, "initialDelaySeconds": 5},
                }
            ],
            "terminationGracePeriodSeconds": 0,
            "nodeSelector": {"k": ""},
        },
        "status": {},
    }


def test_times_bytes_and_negative_numbers() -> None:
    secret = field(1, field(1, "s") + field(8, field(1, 1_700_000_000))) + field(2, field(1, "k") + field(2, b"\xff\0"))
    found = decode(body("v1", "Secret", secret))
    assert found["data"] == {"k": "/wA="}
    assert found["metadata"]["creationTimestamp"] == "2023-11-14T22:13:20Z"
    lease = field(1, field(1, "l")) + field(
        2, field(3, field(1, -62_135_596_798)) + field(4, field(1, -62_135_596_800))
    )
    assert decode(body("coordination.k8s.io/v1", "Lease", lease))["spec"] == {
        "acquireTime": "0001-01-01T00:00:02.000000Z"
    }
    cls = decode(body("scheduling.k8s.io/v1", "PriorityClass", field(1, field(1, "p")) + field(2, -5)))
    assert cls["value"] == -5


def test_lists_in_maps() -> None:
    extra = field(5, field(1, "k") + field(2, field(1, "a") + field(1, "b")))
    review = decode(body("authorization.k8s.io/v1", "SubjectAccessReview", field(2, field(3, "u") + extra)))
    assert review["spec"] == {"user": "u", "extra": {"k": ["a", "b"]}}


def test_a_custom_resource_definition_and_an_api_service() -> None:
    leaf = field(5, "integer") + varint(9 << 3 | 1) + struct.pack("<d", 5.0) + field(8, field(1, b"3"))
    properties = field(29, field(1, "n") + field(2, leaf))
    more = field(30, field(1, 1) + field(2, field(5, "string"))) + field(24, field(1, field(5, "string")))
    schema = field(5, "object") + properties + more + field(38, 1) + field(44, field(1, "a")) + field(44, field(1, "b"))
    version = field(1, "v1") + field(2, 1) + field(3, 1) + field(4, field(1, schema)) + field(5, field(1, b""))
    names = field(1, "widgets") + field(4, "Widget")
    crd = field(1, field(1, "widgets.x.io")) + field(2, field(1, "x.io") + field(3, names) + field(7, version))
    found = decode(body("apiextensions.k8s.io/v1", "CustomResourceDefinition", crd))
    root = found["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert found["spec"]["names"] == {"plural": "widgets", "kind": "Widget"}
    assert found["spec"]["versions"][0]["subresources"] == {"status": {}}
    assert root["properties"] == {"n": {"type": "integer", "maximum": 5, "default": 3}}
    assert root["additionalProperties"] == {"type": "string"}
    assert root["items"] == {"type": "string"}
    assert root["x-kubernetes-preserve-unknown-fields"] is True
    assert [rule["rule"] for rule in root["x-kubernetes-validations"]] == ["a", "b"]
    spec = field(1, field(1, "ns") + field(2, "svc") + field(3, 443)) + field(2, "g.io") + field(3, "v1") + field(7, 9)
    service = decode(body("apiregistration.k8s.io/v1", "APIService", field(1, field(1, "v1.g.io")) + field(2, spec)))
    assert service["spec"]["service"] == {"namespace": "ns", "name": "svc", "port": 443}
    assert service["spec"]["groupPriorityMinimum"] == 9


def test_refusals() -> None:
    good = body("v1", "ConfigMap", field(1, field(1, "c")))
    with pytest.raises(ProtobufError, match="expected prefix"):
        decode(b"{}")
    with pytest.raises(ProtobufError, match="no kind"):
        decode(body("v1", "Nothing", b""))
    with pytest.raises(ProtobufError):
        decode(good[:-6])
    with pytest.raises(ProtobufError):
        decode(body("v1", "ConfigMap", field(1, b"\xff" * 12)))


@given(st.binary(max_size=200))
def test_no_bytes_break_it(data: bytes) -> None:
    for text in (b"k8s\0" + data, body("v1", "Pod", data)):
        with contextlib.suppress(ProtobufError):
            decode(text)


def test_the_table_is_whole() -> None:
    assert fields_of("core.v1.PodSpec")[2].type == "core.v1.Container"
    for message in ("core.v1.PodSpec", "apps.v1.DeploymentSpec", "meta.v1.ObjectMeta", "core.v1.Volume"):
        for number, found in fields_of(message).items():
            assert number > 0
            if "." in found.type:
                fields_of(found.type)
    assert struct.calcsize("<d") == 8
