"""console: the guest's serial line in this terminal, until ^] or the other end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import termios
import tty
from collections.abc import Iterator

import click

from kumo.api.errors import StatusError
from kumo.cli.virt.flags import INTEGER, Command
from kumo.cli.virt.session import PROTOCOL, Session, SessionError, session_options
from kumo.cli.virt.standard_io import StandardInput, write
from kumo.machinery.http import WebSocket
from kumo.machinery.websocket import ABNORMAL

ESCAPE = 29
"""^], which ends the session when it is the first byte of what was typed (as virtctl)."""
BROKEN = "websocket: close 1006 (abnormal closure): unexpected EOF"
"""How virtctl words the end of a connection that nobody has closed properly."""
_RETRY_SECONDS = 1.0
_DISCONNECTED = """
You were disconnected from the console. This could be caused by one of the following:
 - the target VM was powered off
 - another user connected to the console of the target VM
 - network issues"""


@contextlib.contextmanager
def raw_terminal(descriptor: int) -> Iterator[None]:
    """The terminal without line editing and echo, as it was before afterwards; does nothing to what is no terminal."""
    if not os.isatty(descriptor):
        yield
        return
    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


async def attach(socket: WebSocket, message: str) -> bool:
    """Join standard input and output with the stream; False if the connection broke off rather than was closed."""

    async def send() -> None:
        typed = StandardInput()
        while (data := await typed.read()) and data[0] != ESCAPE:
            await socket.send(data)

    async def receive() -> None:
        while (data := await socket.receive()) is not None:
            await write(data if isinstance(data, bytes) else data.encode())

    with raw_terminal(0):
        click.echo(message, err=True, nl=False)
        sys.stderr.flush()
        sender, receiver = asyncio.create_task(send()), asyncio.create_task(receive())
        try:
            done, _ = await asyncio.wait({sender, receiver}, return_when=asyncio.FIRST_COMPLETED)
            broken = receiver in done and socket.close_code == ABNORMAL
        finally:
            for task in (sender, receiver):
                task.cancel()
            await asyncio.gather(sender, receiver, return_exceptions=True)
            await socket.close()
    return not broken


async def _connect_and_attach(session: Session, vmi: str, timeout: float) -> bool:
    deadline = asyncio.get_running_loop().time() + timeout
    path = session.subresource_path("virtualmachineinstances", vmi, "console")
    async with session.transport() as transport:
        while True:
            try:
                async with transport.websocket(path, protocols=(PROTOCOL,)) as socket:
                    end = "\r\n" if os.isatty(0) else "\n"
                    text = f"Successfully connected to {vmi} console. The escape sequence is ^]{end}"
                    return await attach(socket, text)
            except StatusError as error:
                # 400 is "not running yet" and the only answer worth another try.
                if error.code != 400 or not timeout:
                    raise
                if asyncio.get_running_loop().time() >= deadline:
                    raise SessionError("Timeout trying to connect to the virtual machine instance") from error
            await asyncio.sleep(_RETRY_SECONDS)


@click.command("console", cls=Command)
@click.argument("vmi")
@click.option(
    "--timeout",
    type=INTEGER,
    default=5,
    show_default=True,
    help="The number of minutes to wait for the virtual machine instance to be ready.",
)
@session_options
def console(session: Session, vmi: str, timeout: int) -> None:
    """Connect to a console of a virtual machine instance."""
    try:
        ended_well = asyncio.run(_connect_and_attach(session, vmi, timeout * 60))
    except KeyboardInterrupt:
        click.echo()
        return
    if not ended_well:
        click.echo(_DISCONNECTED, err=True)
        raise SessionError(BROKEN)
