"""nftables by libnftables' JSON interface: transactions that the kernel takes whole or not at all.

Commands are the dictionaries of libnftables-json(5), for example `{"add": {"table": {"family": "ip", "name": "x"}}}`.
The library's context has a netlink socket, which belongs to the network namespace of the thread that made it.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import nftables

Command = dict[str, Any]


class NftError(Exception):
    """The kernel or the library refused a transaction; the message is libnftables'."""


class Nft:
    """A libnftables context, usable from any thread, one transaction at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._context: Any = nftables.Nftables()
        self._context.set_json_output(True)
        self._context.set_handle_output(False)

    def apply(self, commands: list[Command]) -> None:
        """Carry out all the commands or none. Blocks for milliseconds. Raises NftError."""
        if not commands:
            return
        with self._lock:
            code, _, error = self._context.json_cmd({"nftables": commands})
        if code != 0:
            raise NftError(error.strip() or f"nftables refused the transaction (code {code})")

    async def apply_async(self, commands: list[Command]) -> None:
        """`apply` in a thread."""
        await asyncio.to_thread(self.apply, commands)

    def apply_text(self, ruleset: str) -> None:
        """Carry out commands in nft's own language, all or none. Raises NftError."""
        with self._lock:
            code, _, error = self._context.cmd(ruleset)
        if code != 0:
            raise NftError(error.strip() or f"nftables refused the transaction (code {code})")

    def list_table(self, family: str, name: str) -> list[dict[str, Any]]:
        """What is in the table (chains, sets, maps with their elements, rules), empty if there is no such table."""
        with self._lock:
            code, answer, error = self._context.json_cmd({"nftables": [{"list": {"table": _table(family, name)}}]})
        if code != 0:
            if "No such file" in error:
                return []
            raise NftError(error.strip())
        return [item for item in answer["nftables"] if "metainfo" not in item]

    def tables(self, prefix: str = "") -> list[tuple[str, str]]:
        """Family and name of every table whose name begins with `prefix`."""
        with self._lock:
            code, answer, error = self._context.json_cmd({"nftables": [{"list": {"tables": None}}]})
        if code != 0:
            raise NftError(error.strip())
        found = [item["table"] for item in answer["nftables"] if "table" in item]
        return [(t["family"], t["name"]) for t in found if t["name"].startswith(prefix)]

    def delete_table(self, family: str, name: str) -> None:
        """Delete the table and all that is in it; no error if it is gone."""
        self.apply(replace_table(family, name)[:2])


def _table(family: str, name: str) -> dict[str, str]:
    return {"family": family, "name": name}


def replace_table(family: str, name: str) -> list[Command]:
    """The commands that leave an empty table of that name, whatever was there before.

    Adding before deleting makes the deletion succeed also where there was no table.
    """
    table = _table(family, name)
    return [{"add": {"table": table}}, {"delete": {"table": table}}, {"add": {"table": table}}]
