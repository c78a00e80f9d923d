"""The resource metrics API: pages of kubelets read, usage between two looks, objects and tables."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kumo.api.errors import StatusError
from kumo.api.objects import Object
from kumo.kubernetes.metrics_server.api import amounts, duration, metrics_group
from kumo.kubernetes.metrics_server.page import read
from kumo.kubernetes.metrics_server.points import NodePoints, Pair, Point, Usage, follow, usage
from kumo.machinery.http import Request, Response

pytestmark = pytest.mark.unit

PAGE = """\
# HELP container_cpu_usage_seconds_total [STABLE] Cumulative cpu time
# TYPE container_cpu_usage_seconds_total counter
container_cpu_usage_seconds_total{container="main",namespace="default",pod="a"} 12.5 1700000000000
container_cpu_usage_seconds_total{container="half",namespace="default",pod="a"} 1 1700000000000
container_memory_working_set_bytes{container="main",namespace="default",pod="a"} 1.048576e+06 1700000000000
container_start_time_seconds{container="main",namespace="default",pod="a"} 1.6999999e+09
container_cpu_usage_seconds_total{container="ma\\"in",namespace="default",pod="b"} NaN
node_cpu_usage_seconds_total 100 1700000000500
node_memory_working_set_bytes 2e9 1700000000500
pod_cpu_usage_seconds_total{namespace="default",pod="a"} 12.6 1700000000000
nonsense
container_cpu_usage_seconds_total{container="x"
"""


def test_a_page_is_read() -> None:
    page = read(PAGE, 5.0)
    assert page.node == Point(1700000000.5, 0.0, 100_000_000_000, 2_000_000_000)
    assert page.containers == {("default", "a", "main"): Point(1.7e9, 1699999900.0, 12_500_000_000, 1 << 20)}
    assert read("", 5.0).node is None
    assert read("node_cpu_usage_seconds_total 1\nnode_memory_working_set_bytes 1", 5.0).node == Point(
        5.0, 0.0, 10**9, 1
    )


@pytest.mark.parametrize(
    ("known", "new", "rate"),
    [
        (None, Point(100, 20, 10**9, 7), None),  # one look is none to measure from
        (None, Point(100, 88, 6 * 10**9, 7), (12.0, 5 * 10**8)),  # fresh: counted from its start
        (None, Point(100, 95, 10**9, 7), None),  # too fresh
        (Point(85, 20, 10**9, 5), Point(100, 20, 4 * 10**9, 7), (15.0, 2 * 10**8)),
        (Point(85, 20, 5 * 10**9, 5), Point(100, 20, 4 * 10**9, 7), None),  # the counter began anew
        (Point(85, 20, 5 * 10**9, 5), Point(100, 95, 6 * 10**9, 7), None),  # another container of that name
        (Point(100, 20, 10**9, 5), Point(100, 20, 10**9, 7), None),  # the same look twice
    ],
)
def test_usage(known: Point | None, new: Point, rate: tuple[float, int] | None) -> None:
    found = usage(follow(Pair(known, None) if known else None, new, 15.0))
    assert found == (None if rate is None else Usage(100, rate[0], rate[1], 7))


def test_a_container_that_is_gone_is_forgotten() -> None:
    points = NodePoints()
    points.store(None, {("d", "a", "x"): Point(1, 0, 0, 1), ("d", "a", "y"): Point(1, 0, 0, 1)}, 15.0)
    points.store(Point(2, 0, 1, 1), {("d", "a", "x"): Point(2, 0, 10**9, 1)}, 15.0)
    assert points.by_pod() == {("d", "a"): {"x": Usage(2, 1.0, 10**9, 1)}}


@pytest.mark.parametrize(
    ("seconds", "text"), [(15.034, "15.034s"), (60.5, "1m0.5s"), (3600, "1h0m0s"), (10, "10s"), (0.25, "0.25s")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_amounts() -> None:
    assert amounts(Usage(0, 1, 123_456_789, 3 << 20)) == {"cpu": "123456789n", "memory": "3Mi"}
    assert amounts(Usage(0, 1, 250_000_000, 1000)) == {"cpu": "250m", "memory": "1k"}
    assert amounts(Usage(0, 1, 0, 0)) == {"cpu": "0", "memory": "0"}


def thing(name: str, namespace: str = "", **labels: str) -> Object:
    return {"metadata": {"name": name, **({"namespace": namespace} if namespace else {}), "labels": labels}}


USE = Usage(1.7e9, 15.0, 10**8, 1 << 20)


async def ask(path: str, query: str = "", accept: str = "application/json", method: str = "GET") -> Any:
    pods = [(thing("b", "x", app="w"), {"m": USE, "a": USE}), (thing("a", "x"), {"m": USE})]
    group = metrics_group(lambda: [(thing("n1"), USE)], lambda space: pods if space in ("", "x") else [])
    answer = await group.handler(Request(method, f"/apis/metrics.k8s.io/v1beta1{path}", query, {"accept": accept}))
    assert isinstance(answer, Response) and isinstance(answer.body, bytes)
    return json.loads(answer.body)


async def test_objects_and_lists() -> None:
    node = await ask("/nodes/n1")
    assert (node["kind"], node["usage"], node["window"]) == ("NodeMetrics", {"cpu": "100m", "memory": "1Mi"}, "15s")
    listed = await ask("/pods")
    assert listed["kind"] == "PodMetricsList" and [i["metadata"]["name"] for i in listed["items"]] == ["a", "b"]
    assert [c["name"] for c in listed["items"][1]["containers"]] == ["a", "m"]
    assert [i["metadata"]["name"] for i in (await ask("/namespaces/x/pods", "labelSelector=app%3Dw"))["items"]] == ["b"]
    assert [i["metadata"]["name"] for i in (await ask("/pods", "fieldSelector=metadata.name%3Da"))["items"]] == ["a"]
    assert (await ask("/namespaces/y/pods"))["items"] == []


async def test_tables() -> None:
    table = await ask("/pods", accept="application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "cpu", "memory", "Window"]
    assert [r["cells"] for r in table["rows"]] == [["a", "100m", "1Mi", "15s"], ["b", "200m", "2Mi", "15s"]]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"


@pytest.mark.parametrize(
    ("path", "query", "method", "code"),
    [
        ("/namespaces/x/pods/c", "", "GET", 404),
        ("/nodes/none", "", "GET", 404),
        ("/secrets", "", "GET", 404),
        ("/pods", "watch=1", "GET", 405),
        ("/pods", "", "DELETE", 405),
        ("/pods", "labelSelector=a%20in%20(", "GET", 400),
        ("/pods", "fieldSelector=spec.nodeName%3Dx", "GET", 400),
    ],
)
async def test_refusals(path: str, query: str, method: str, code: int) -> None:
    with pytest.raises(StatusError) as caught:
        await ask(path, query, method=method)
    assert caught.value.code == code
