"""nftables by libnftables: transactions that the kernel takes whole or not at all.

Commands are text in nft's own language: rules read as in its manual, and the library's text parser is the well-tried
one (the JSON parser of 1.0.6 crashes on a `dnat` through a map of concatenations). Answers are JSON. The library's
context has a netlink socket, which belongs to the network namespace of the thread that made it, and holds some 15 MiB
after its first transaction with sets: a process shares one.
"""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import nftables


class NftError(Exception):
    """The kernel or the library refused a transaction; the message is libnftables'."""


class Nft:
    """A libnftables context, usable from any thread, one transaction at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._context: Any = nftables.Nftables()
        self._context.set_handle_output(False)

    def apply(self, commands: str) -> None:
        """Carry out all the commands or none. Blocks for milliseconds. Raises NftError."""
        if commands:
            self._command(commands, json_output=False)

    async def apply_async(self, commands: str) -> None:
        """`apply` in a thread."""
        await asyncio.to_thread(self.apply, commands)

    def list_table(self, family: str, name: str) -> list[dict[str, Any]]:
        """What is in the table (libnftables-json(5): chains, sets, maps, rules), empty if there is no such table."""
        if (family, name) not in self.tables(name):
            return []
        answer = json.loads(self._command(f"list table {family} {name}", json_output=True))
        return [item for item in answer["nftables"] if "metainfo" not in item]

    def tables(self, prefix: str = "") -> list[tuple[str, str]]:
        """Family and name of every table whose name begins with `prefix`."""
        answer = json.loads(self._command("list tables", json_output=True))
        found = [item["table"] for item in answer["nftables"] if "table" in item]
        return [(t["family"], t["name"]) for t in found if t["name"].startswith(prefix)]

    def delete_table(self, family: str, name: str) -> None:
        """Delete the table and all that is in it; no error if it is gone."""
        self.apply(replaced(family, name))

    def _command(self, commands: str, *, json_output: bool) -> str:
        with self._lock:
            self._context.set_json_output(json_output)
            code, answer, error = self._context.cmd(commands)
        if code != 0:
            raise NftError(error.strip() or f"nftables refused the transaction (code {code})")
        return str(answer)


def replaced(family: str, name: str) -> str:
    """Commands that delete a table whether or not it is there (adding first makes the deletion succeed)."""
    return f"add table {family} {name}\ndelete table {family} {name}\n"
