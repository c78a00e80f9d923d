"""No request holds the event loop for long, however much it asks for: the others' requests go on meanwhile.

What is measured is the processor time between two turns of the loop, which other processes do not lengthen.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kumo.api.resources import PODS
from kumo.machinery.http import Request, Response
from support.apiserver import ADMIN, RunningApiServer, running_apiserver

pytestmark = pytest.mark.component
_PODS = 1500
_LONGEST = 0.05
"""What upstream's table of 1,500 pods would be over at our speed, if it were made in one go."""
_TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
_METADATA = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
_INITIAL = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
_CONFIGMAPS = "/api/v1/namespaces/default/configmaps"


class Hold:
    """The longest time that the loop was held."""

    longest = 0.0


@contextmanager
def measured() -> Iterator[Hold]:
    """Look at the clock in every turn of the loop."""
    loop, hold = asyncio.get_running_loop(), Hold()
    last, on = time.thread_time(), True

    def turn() -> None:
        nonlocal last
        now = time.thread_time()
        hold.longest, last = max(hold.longest, now - last), now
        if on:
            loop.call_soon(turn)

    loop.call_soon(turn)
    try:
        yield hold
    finally:
        on = False
        hold.longest = max(hold.longest, time.thread_time() - last)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RunningApiServer]:
    async with running_apiserver(tmp_path) as found:
        yield found


async def ask(server: RunningApiServer, method: str, path: str, query: str, accept: str, body: bytes = b"") -> int:
    """The number of bytes of the answer; a watch is read to the end of what is there."""
    headers = {"accept": accept.removeprefix("gzip "), "content-type": "application/json"}
    if accept.startswith("gzip "):
        headers["accept-encoding"] = "gzip"
    if method == "PATCH":
        headers["content-type"] = "application/apply-patch+yaml"
    answer = await server.server.handle(Request(method, path, query, headers, body, ADMIN))
    assert isinstance(answer, Response) and answer.status in (200, 201), answer
    if isinstance(answer.body, bytes):
        return len(answer.body)
    if not hasattr(answer.body, "__aiter__"):
        return sum(len(part) for part in answer.body)
    size, stream = 0, aiter(answer.body)
    async for chunk in stream:
        size += len(chunk)
        if b"initial-events-end" in chunk:
            break
    await stream.aclose()  # type: ignore[attr-defined]
    return size


async def test_answers_of_thousands_of_objects_never_hold_the_loop(server: RunningApiServer) -> None:
    async def make(number: int) -> None:
        container = {"name": "c", "image": "i", "env": [{"name": "A", "value": "b"}]}
        pod = {"metadata": {"name": f"p{number}", "labels": {"x": "y"}}, "spec": {"containers": [container]}}
        await server.client.create(PODS, pod, "default")

    for start in range(0, _PODS, 50):
        await asyncio.gather(*map(make, range(start, start + 50)))
    slow = {}
    for query, accept in (
        ("", ""),
        ("", "gzip "),
        ("labelSelector=x%3Dy", ""),
        ("labelSelector=x%3Dy", "gzip "),
        ("fieldSelector=spec.nodeName%3D", ""),
        ("", _TABLE),
        ("", f"gzip {_TABLE}"),
        ("includeObject=Object", _TABLE),
        ("", _METADATA),
        ("limit=300", "application/yaml"),
        ("", "application/vnd.kubernetes.protobuf,application/json"),
        (_INITIAL, ""),
        (f"{_INITIAL}&labelSelector=x%3Dy", _TABLE),
    ):
        with measured() as hold:
            assert await ask(server, "GET", "/api/v1/pods", query, accept)
        if hold.longest > _LONGEST:
            slow[query, accept] = hold.longest
    with measured() as hold:
        assert await ask(server, "DELETE", "/api/v1/namespaces/default/pods", "", "")
    if hold.longest > _LONGEST:
        slow["deletecollection", ""] = hold.longest
    assert not slow


async def test_large_objects_never_hold_the_loop(server: RunningApiServer) -> None:
    """The largest config maps that can be stored: one value, and many."""
    for name, data in (("one", {"a": "x" * 1_040_000}), ("many", {f"k{i:05}": "vv" for i in range(40_000)})):
        body = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}).encode()
        applied = body.replace(b"vv", b"ww")
        with measured() as hold:
            await ask(server, "POST", _CONFIGMAPS, "", "", body)
            await ask(server, "PATCH", f"{_CONFIGMAPS}/{name}", "fieldManager=f&force=true", "", applied)
            await ask(server, "GET", f"{_CONFIGMAPS}/{name}", "", "")
            assert await ask(server, "GET", f"{_CONFIGMAPS}/{name}", "", "application/yaml") > 500_000
        assert hold.longest < _LONGEST, name
