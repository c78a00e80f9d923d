"""The machine's log files over the node's API: files, folders, and what is none of its business."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kumo.api.errors import StatusError
from kumo.kubernetes.kubelet.server.node_logs import node_logs
from kumo.machinery.http import Request, Response

pytestmark = pytest.mark.unit


@pytest.fixture
def root(tmp_path: Path) -> Path:
    logs = tmp_path / "log"
    (logs / "apt").mkdir(parents=True)
    (logs / "syslog").write_bytes(b"one\ntwo\n" * 100_000)
    (logs / "a&b?.log").write_text("odd")
    (tmp_path / "secret").write_text("of the machine")
    (logs / "out").symlink_to(tmp_path / "secret")
    (logs / "in").symlink_to(logs / "a&b?.log")
    return logs


async def get(root: Path, path: str, method: str = "GET", *, enabled: bool = True) -> Response | None:
    return await node_logs(Request(method, path), enabled=enabled, root=root)


async def body(answer: Response | None) -> bytes:
    assert answer is not None
    if isinstance(answer.body, AsyncIterator):
        return b"".join([chunk async for chunk in answer.body])
    assert isinstance(answer.body, bytes)
    return answer.body


async def test_kubelet_node_logs_are_files_and_folders(root: Path) -> None:
    assert await get(root, "/logsx") is None and await get(root, "/pods") is None
    page = (await body(await get(root, "/logs/"))).decode()
    assert '<a href="a%26b%3F.log">a&amp;b?.log</a>\n<a href="apt/">apt/</a>\n' in page
    assert await body(await get(root, "/logs/syslog")) == (root / "syslog").read_bytes()
    assert await body(await get(root, "/logs/a&b?.log")) == b"odd" == await body(await get(root, "/logs/in"))
    moved = await get(root, "/logs/apt")
    assert moved is not None and (moved.status, moved.headers["location"]) == (301, "apt/")
    assert await body(await get(root, "/logs/syslog", "HEAD")) == b""


@pytest.mark.parametrize("path", ["none", "out", "../secret", "/etc/passwd", "apt/../../secret", "\0"])
async def test_kubelet_node_logs_lead_nowhere_else(root: Path, path: str) -> None:
    answer = await get(root, f"/logs/{path}")
    assert answer is not None and answer.status == 404


async def test_kubelet_node_logs_can_be_switched_off_and_are_not_written(root: Path) -> None:
    answer = await get(root, "/logs/", enabled=False)
    assert answer is not None and (answer.status, answer.body) == (405, b"logs endpoint is disabled.\n")
    with pytest.raises(StatusError):
        await get(root, "/logs/", "POST")
