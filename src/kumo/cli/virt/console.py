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
from kumo.cli.virt.session import PROTOCOL, Session, namespace_option
from kumo.machinery.http import WebSocket

ESCAPE = 29
"""^], which ends the session when it is the first byte of what was typed (as virtctl)."""
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
    """Join standard input and output with the stream; True if it was the far end that ended it."""
    loop = asyncio.get_running_loop()
    typed: asyncio.Queue[bytes] = asyncio.Queue()

    def readable() -> None:
        data = os.read(0, 1024)
        typed.put_nowait(data)
        if not data:
            loop.remove_reader(0)

    async def send() -> None:
        while True:
            data = await typed.get()
            if not data or data[0] == ESCAPE:
                return
            await socket.send(data)

    async def receive() -> None:
        while (data := await socket.receive()) is not None:
            os.write(1, data if isinstance(data, bytes) else data.encode())

    with raw_terminal(0):
        click.echo(message, err=True)
        sys.stderr.flush()
        loop.add_reader(0, readable)
        sender, receiver = asyncio.create_task(send()), asyncio.create_task(receive())
        try:
            await asyncio.wait({sender, receiver}, return_when=asyncio.FIRST_COMPLETED)
            return receiver.done()
        finally:
            loop.remove_reader(0)
            for task in (sender, receiver):
                task.cancel()
            await asyncio.gather(sender, receiver, return_exceptions=True)
            await socket.close()


async def _connect_and_attach(session: Session, vmi: str, timeout: float) -> bool:
    deadline = asyncio.get_running_loop().time() + timeout
    path = session.subresource_path("virtualmachineinstances", vmi, "console")
    async with session.transport() as transport:
        while True:
            try:
                async with transport.websocket(path, protocols=(PROTOCOL,)) as socket:
                    text = f"Successfully connected to {vmi} console. The escape sequence is ^]\n"
                    return await attach(socket, text.replace("\n", "\r\n") if os.isatty(0) else text)
            except StatusError as error:
                # 400 is "not running yet" and the only answer worth another try.
                if error.code != 400 or asyncio.get_running_loop().time() >= deadline:
                    raise
            await asyncio.sleep(_RETRY_SECONDS)


@click.command("console")
@click.argument("vmi")
@click.option(
    "--timeout",
    type=int,
    default=5,
    show_default=True,
    help="The number of minutes to wait for the virtual machine instance to be ready.",
)
@namespace_option
def console(session: Session, vmi: str, timeout: int) -> None:
    """Connect to a console of a virtual machine instance."""
    try:
        ended_by_guest = asyncio.run(_connect_and_attach(session, vmi, timeout * 60))
    except KeyboardInterrupt:
        click.echo()
        return
    if ended_by_guest:
        click.echo(_DISCONNECTED, err=True)
        sys.exit(1)
