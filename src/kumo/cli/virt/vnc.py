"""vnc: the guest's screen on a local port, with a viewer if the machine has one; or one picture of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from kumo.api.conditions import condition
from kumo.api.errors import StatusError
from kumo.api.resources import VMIS
from kumo.cli.virt.console import BROKEN
from kumo.cli.virt.flags import INTEGER, Command
from kumo.cli.virt.session import PROTOCOL, Session, SessionError, session_options
from kumo.machinery.client import Client, Reply, Transport, raise_for_status
from kumo.machinery.http import WebSocket
from kumo.machinery.websocket import ABNORMAL

_VIEWERS = {"remote-viewer": ("remote-viewer", "vnc://127.0.0.1:{port}"), "tiger": ("vncviewer", "127.0.0.1:{port}")}


def viewer(kind: str, path: str) -> tuple[str, str]:
    """The viewer's program, and the argument that names the port to it. Raises SessionError when there is none.

    As in virtctl, `path` counts only together with `kind`.
    """
    if not kind:
        for program, argument in _VIEWERS.values():
            if found := shutil.which(program):
                return found, argument
        raise SessionError("error encountered: could not find remote-viewer or vncviewer binary in $PATH")
    if path and not Path(path).exists():
        raise SessionError(f"error encountered: specified VNC path does not exist: {path}")
    if kind not in _VIEWERS:
        raise SessionError(f"error encountered: unsupported vnc-type: {kind}")
    program, argument = _VIEWERS[kind]
    found = path or shutil.which(program)
    if not found:
        why = f'exec: "{program}": executable file not found in $PATH'
        raise SessionError(f"error encountered: could not find {program} in $PATH: {why}")
    return found, argument


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


async def _warn_if_paused(session: Session, transport: Transport, vmi: str) -> None:
    with contextlib.suppress(StatusError, ConnectionError):
        found = await Client(transport).get(VMIS, vmi, session.namespace)
        if condition(found, "Paused") is not None:
            click.echo(f"\rWarning: {vmi} is paused. Console will be active after unpause.", err=True)


@dataclass(frozen=True, slots=True)
class Options:
    """Where the proxy listens, and what it starts; without `proxy_only` it starts a viewer."""

    address: str
    port: int
    proxy_only: bool
    preserve: bool
    vnc_type: str
    vnc_path: str


async def _proxy(session: Session, vmi: str, options: Options) -> None:
    path = session.subresource_path("virtualmachineinstances", vmi, "vnc")
    query = f"preserveSession={'true' if options.preserve else 'false'}"
    async with session.transport() as transport:
        context = transport.websocket(path, query=query, protocols=(PROTOCOL,))
        try:
            socket = await context.__aenter__()
        except StatusError as error:
            raise SessionError(f"can't access VMI {vmi}: {error}") from error
        try:
            await _serve(session, transport, vmi, socket, options)
        finally:
            await context.__aexit__(None, None, None)


async def _serve(session: Session, transport: Transport, vmi: str, socket: WebSocket, options: Options) -> None:
    """Take one viewer's connection and carry it; over when it ends, or the guest's screen does."""
    carried: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.close()
        await _warn_if_paused(session, transport, vmi)
        await _carry(socket, reader, writer)
        if not carried.done():
            carried.set_result(None)

    try:
        server = await asyncio.start_server(accepted, options.address, options.port)
    except OSError as error:
        raise SessionError(f"can't listen on unix socket: {error.strerror or error}") from error
    port = server.sockets[0].getsockname()[1]
    if options.proxy_only:
        click.echo(json.dumps({"port": port}, separators=(",", ":")))
        sys.stdout.flush()
        await carried
    else:
        program, argument = viewer(options.vnc_type, options.vnc_path)
        child = await asyncio.create_subprocess_exec(program, argument.format(port=port))
        if await child.wait():
            raise SessionError(f"error encountered: exit status {child.returncode}")
    if socket.close_code == ABNORMAL:
        raise SessionError(f"error encountered: {BROKEN}")


@click.command("vnc", cls=Command)
@click.argument("vmi")
@click.option("--address", default="127.0.0.1", show_default=True, help="The listening address of the VNC server.")
@click.option("--proxy-only", is_flag=True, help="Run only the vnc proxy and show the port viewers can connect to.")
@click.option("--preserve-session", is_flag=True, help="Preserve an existing VNC session instead of dropping it.")
@click.option("--port", type=INTEGER, default=0, help="The port of the proxy; a random one if unassigned.")
@click.option("--vnc-type", default="", help="The type of VNC viewer to use (tiger, remote-viewer).")
@click.option("--vnc-path", default="", help="The path of the VNC viewer executable.")
@session_options
def vnc(
    session: Session,
    vmi: str,
    address: str,
    proxy_only: bool,
    preserve_session: bool,
    port: int,
    vnc_type: str,
    vnc_path: str,
) -> None:
    """Open a vnc connection to a virtual machine instance; `vnc screenshot VMI -f FILE` takes one picture."""
    where = address if proxy_only else "127.0.0.1"
    options = Options(where, port, proxy_only, preserve_session, vnc_type, vnc_path)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_proxy(session, vmi, options))


@click.command("screenshot", cls=Command)
@click.argument("vmi")
@click.option("-f", "--file", default="", help="Where to store the VNC screenshot, `-` for standard output.")
@click.option("-m", "--move-cursor", is_flag=True, help="Move the cursor first, which wakes some guests.")
@session_options
def screenshot(session: Session, vmi: str, file: str, move_cursor: bool) -> None:
    """Create a VNC screenshot of a virtual machine instance, a PNG."""
    if not file:
        raise SessionError('required flag(s) "file" not set')

    async def take() -> bytes:
        path = session.subresource_path("virtualmachineinstances", vmi, "vnc/screenshot")
        async with session.transport() as transport:
            query = f"moveCursor={'true' if move_cursor else 'false'}"
            reply = await transport.request("GET", path, query=query)
            if reply.status >= 400:
                raise SessionError(f"Can't access VMI {vmi}: {_refusal(reply, vmi)}")
            return reply.body

    picture = asyncio.run(take())
    if file == "-":
        sys.stdout.buffer.write(picture)
        return
    try:
        Path(file).write_bytes(picture)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise SessionError(f"Can't write image to a file: open {file}: {why}") from error


def _refusal(reply: Reply, vmi: str) -> str:
    """A refusal as client-go words it: the Status' message, or the plain text in a sentence of its own."""
    try:
        raise_for_status(reply)
    except StatusError as error:
        if reply.headers.get("content-type", "").startswith("application/json"):
            return str(error)
    text = reply.body.decode(errors="replace").strip()
    what = f"get virtualmachineinstances.kubevirt.io {vmi}"
    return f"an error on the server ({json.dumps(text)}) has prevented the request from succeeding ({what})"
