"""The machine's log files, `/logs/...`: what is below /var/log, folders as pages of links.

Upstream: a file server for `/var/log/` (pkg/kubelet/kubelet.go), switched by `enableSystemLogHandler`. Where that
follows links out of the folder, which who can write there might use to read the machine's other files, this does not.
"""

from __future__ import annotations

import asyncio
import html
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

from kumo.api.errors import method_not_allowed
from kumo.machinery.http import Request, Response

ROOT = Path("/var/log")
_CHUNK = 256 * 1024
_TEXT, _HTML = "text/plain; charset=utf-8", "text/html; charset=utf-8"
_DISABLED = Response(405, b"logs endpoint is disabled.\n", _TEXT)
_MISSING = Response(404, b"404 page not found\n", _TEXT)


async def node_logs(request: Request, *, enabled: bool, root: Path = ROOT) -> Response | None:
    """The file or the folder's page, None when the path is another. Raises 405 for a write."""
    if request.path != "/logs" and not request.path.startswith("/logs/"):
        return None
    if not enabled:
        return _DISABLED
    if request.method not in ("GET", "HEAD"):
        raise method_not_allowed()
    return await asyncio.to_thread(_answer, request, root)


def _answer(request: Request, root: Path) -> Response:
    inner = request.path.removeprefix("/logs").lstrip("/")
    base = Path(os.path.realpath(root))
    try:
        found = Path(os.path.realpath(base / inner))
        if found != base and base not in found.parents:
            return _MISSING
        about = found.stat()
        if stat.S_ISDIR(about.st_mode):
            if not request.path.endswith("/"):
                where = f"{request.path.rsplit('/', 1)[-1]}/"
                return Response(301, b"", _HTML, {"location": quote(where)})
            return Response(200, _page(found), _HTML)
        if not stat.S_ISREG(about.st_mode):
            return _MISSING
        content = b"" if request.method == "HEAD" else _chunks(found, about.st_size)
        return Response(200, content, _TEXT, {"content-length": str(about.st_size)} if not content else {})
    except (OSError, ValueError):
        return _MISSING


def _page(folder: Path) -> bytes:
    names = sorted(e.name + ("/" if e.is_dir() else "") for e in os.scandir(folder))
    links = "".join(f'<a href="{quote(n)}">{html.escape(n)}</a>\n' for n in names)
    return f'<!doctype html>\n<meta name="viewport" content="width=device-width">\n<pre>\n{links}</pre>\n'.encode()


async def _chunks(path: Path, left: int) -> AsyncIterator[bytes]:
    """The file as long as it was, though it grows."""
    handle = await asyncio.to_thread(os.open, path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        while left > 0 and (chunk := await asyncio.to_thread(os.read, handle, min(left, _CHUNK))):
            left -= len(chunk)
            yield chunk
    finally:
        os.close(handle)
