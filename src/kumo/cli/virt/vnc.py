"""vnc: the guest's screen on a local port, with a viewer if the machine has one; or one picture of it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys

import click

from kumo.api.errors import StatusError
from kumo.cli.virt.session import PROTOCOL, Session, SessionError, namespace_option
from kumo.machinery.http import WebSocket

_VIEWERS = {"remote-viewer": ("remote-viewer", "vnc://127.0.0.1:{port}"), "tiger": ("vncviewer", "127.0.0.1:{port}")}


def _viewer(kind: str, path: str) -> tuple[str, str]:
    if kind and kind not in _VIEWERS:
        raise SessionError(f"unsupported vnc-type: {kind}")
    for name in (kind,) if kind else tuple(_VIEWERS):
        program, argument = _VIEWERS[name]
        found = path or shutil.which(program)
        if found:
            return found, argument
    raise SessionError("error encountered: could not find remote-viewer or vncviewer binary in $PATH")


async def _carry(socket: WebSocket, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    async def up() -> None:
        while data := await reader.read(32768):
            await socket.send(data)
        await socket.close()

    sender = asyncio.create_task(up())
    try:
        while (data := await socket.receive()) is not None:
            writer.write(data if isinstance(data, bytes) else data.encode())
            await writer.drain()
    finally:
        sender.cancel()
        writer.close()


async def _proxy(session: Session, vmi: str, address: str, port: int, preserve: bool, viewer: tuple[str, str]) -> None:
    path = session.subresource_path("virtualmachineinstances", vmi, "vnc")
    query = f"preserveSession={'true' if preserve else 'false'}"
    async with session.transport() as transport:
        try:
            context = transport.websocket(path, query=query, protocols=(PROTOCOL,))
            socket = await context.__aenter__()
        except StatusError as error:
            raise SessionError(f"can't access VMI {vmi}: {error}") from error
        ended = asyncio.Event()

        async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            server.close()
            try:
                await _carry(socket, reader, writer)
            finally:
                ended.set()

        try:
            server = await asyncio.start_server(accepted, address, port)
            chosen = server.sockets[0].getsockname()[1]
            if viewer[0]:
                child = await asyncio.create_subprocess_exec(viewer[0], viewer[1].format(port=chosen))
                await child.wait()
            else:
                click.echo(json.dumps({"port": chosen}, separators=(",", ":")))
                sys.stdout.flush()
                await ended.wait()
        finally:
            await context.__aexit__(None, None, None)


@click.command("vnc")
@click.argument("arguments", nargs=-1, required=True, metavar="VMI | screenshot VMI")
@click.option("--address", default="127.0.0.1", show_default=True, help="The listening address of the VNC server.")
@click.option("--proxy-only", is_flag=True, help="Run only the vnc proxy and show the port viewers can connect to.")
@click.option("--preserve-session", is_flag=True, help="Preserve an existing VNC session instead of dropping it.")
@click.option("--port", default=0, help="The port of the proxy; a random one if unassigned.")
@click.option("--vnc-type", default="", help="The type of VNC viewer to use (tiger, remote-viewer).")
@click.option("--vnc-path", default="", help="The path of the VNC viewer executable.")
@click.option("-f", "--file", "file", default="", help="Where to store the VNC screenshot, `-` for standard output.")
@click.option("--move-cursor", is_flag=True, help="Move the cursor before the screenshot, which wakes some guests.")
@namespace_option
def vnc(
    session: Session,
    arguments: tuple[str, ...],
    address: str,
    proxy_only: bool,
    preserve_session: bool,
    port: int,
    vnc_type: str,
    vnc_path: str,
    file: str,
    move_cursor: bool,
) -> None:
    """Open a vnc connection to a virtual machine instance; `vnc screenshot VMI -f FILE` takes one picture."""
    if arguments[0] == "screenshot" and len(arguments) == 2:
        _screenshot(session, arguments[1], file, move_cursor)
        return
    if len(arguments) != 1:
        raise SessionError(f"accepts 1 arg(s), received {len(arguments)}")
    viewer = ("", "") if proxy_only else _viewer(vnc_type, vnc_path)
    try:
        asyncio.run(
            _proxy(session, arguments[0], address if proxy_only else "127.0.0.1", port, preserve_session, viewer)
        )
    except KeyboardInterrupt:
        return


def _screenshot(session: Session, vmi: str, file: str, move_cursor: bool) -> None:
    if not file:
        raise SessionError('required flag(s) "file" not set')

    async def take() -> bytes:
        path = session.subresource_path("virtualmachineinstances", vmi, "vnc/screenshot")
        async with session.transport() as transport:
            query = f"moveCursor={'true' if move_cursor else 'false'}"
            reply = await transport.request("GET", path, query=query)
            if reply.status >= 400:
                raise SessionError(f"error reading screenshot from vnc: {reply.body.decode(errors='replace')}")
            return reply.body

    picture = asyncio.run(take())
    if file == "-":
        os.write(1, picture)
        return
    with open(file, "wb") as out:
        out.write(picture)
