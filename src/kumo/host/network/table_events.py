"""Which tables of nftables are made and deleted, by whomever, as the kernel tells it.

A firewall's reload (`nft flush ruleset`, the first line of Debian's `/etc/nftables.conf`) takes everybody's tables.
Source of the messages: linux/netfilter/nfnetlink.h and nf_tables.h.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import Iterator

_NETLINK_NETFILTER = 12
_GROUP = 1 << (7 - 1)  # NFNLGRP_NFTABLES
_CHANGES = (10 << 8 | 0, 10 << 8 | 2)  # NFNL_SUBSYS_NFTABLES with NFT_MSG_NEWTABLE and NFT_MSG_DELTABLE
_NAME = 1  # NFTA_TABLE_NAME
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_GENERIC = 4
_BUFFER = 1 << 18
_RECEIVE = 1 << 20
LOST = ""
"""Stands for messages that came faster than they were read."""


def changed_tables(message: bytes) -> Iterator[str]:
    """The names of the tables that a datagram of the kernel says are new or deleted; the unreadable is passed over."""
    at = 0
    while at + _HEADER.size <= len(message):
        length, kind, *_ = _HEADER.unpack_from(message, at)
        if length < _HEADER.size:
            return
        if kind in _CHANGES:
            yield from _names(message[at + _HEADER.size + _GENERIC : at + length])
        at += (length + 3) & ~3


def _names(attributes: bytes) -> Iterator[str]:
    at = 0
    while at + _ATTRIBUTE.size <= len(attributes):
        length, kind = _ATTRIBUTE.unpack_from(attributes, at)
        if length < _ATTRIBUTE.size:
            return
        if kind == _NAME:
            yield attributes[at + _ATTRIBUTE.size : at + length].rstrip(b"\0").decode(errors="replace")
        at += (length + 3) & ~3


class TableEvents:
    """Listens in the network namespace of the thread that made it; `close` it."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE)
        self._socket.bind((0, _GROUP))
        self._socket.setblocking(False)
        self._readable = asyncio.Event()

    async def next(self) -> set[str]:
        """Wait until tables are made or deleted; their names, `LOST` when some may have been missed."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._socket.fileno(), self._readable.set)
        try:
            while True:
                await self._readable.wait()
                self._readable.clear()
                if found := self._drain():
                    return found
        finally:
            loop.remove_reader(self._socket.fileno())

    def _drain(self) -> set[str]:
        found: set[str] = set()
        while True:
            try:
                found.update(changed_tables(self._socket.recv(_BUFFER)))
            except BlockingIOError:
                return found
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                found.add(LOST)

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()
