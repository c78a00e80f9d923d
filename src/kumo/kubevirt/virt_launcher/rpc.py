"""The launcher's socket: JSON requests and answers, one a line, and events pushed to everybody connected.

Request `{"id": 1, "method": "Ping", "params": {}}`; answer `{"id": 1, "result": {}}` or
`{"id": 1, "error": {"code": "NotRunning", "message": "..."}}`; event `{"event": "domain", ...}`. Requests of one
connection are answered in order, those of different connections at the same time.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable
from typing import Any

from kumo.kubevirt.virt_launcher.log import say

Body = dict[str, Any]
Call = Callable[[str, Body], Body]
"""Carries out one method with its parameters. Raises `Refused` for what cannot be done."""

_SEND_TIMEOUT = 10.0


class Refused(Exception):
    """The request cannot be carried out; `code` is a stable word, the text is for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Server:
    """Listens on a unix socket; one thread a connection, of which there is one a virt-handler."""

    def __init__(self, path: str, call: Call, greeting: Callable[[], Body]) -> None:
        self._call = call
        self._greeting = greeting
        self._lock = threading.Lock()
        self._peers: dict[socket.socket, threading.Lock] = {}
        fresh = f"{path}.new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(fresh)
        os.chmod(fresh, 0o660)
        self._listener.listen(8)
        # Whoever waits for the socket to appear finds one that answers.
        os.rename(fresh, path)

    def start(self) -> None:
        """Accept connections from now on, in a thread."""
        threading.Thread(target=self._accept, name="rpc", daemon=True).start()

    def close(self) -> None:
        """Stop listening and drop every connection."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            peers = list(self._peers)
        for peer in peers:
            self._drop(peer)

    def connected(self) -> bool:
        """Whether anybody is connected."""
        with self._lock:
            return bool(self._peers)

    def publish(self, event: Body) -> None:
        """Send the event to every connection; one that takes nothing for ten seconds is dropped."""
        line = _line(event)
        with self._lock:
            peers = list(self._peers.items())
        for peer, writing in peers:
            self._send(peer, writing, line)

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return  # closed
            peer.settimeout(None)
            # Linux counts the time a send may wait apart from that of a receive.
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, int(_SEND_TIMEOUT).to_bytes(8, "little") + bytes(8))
            threading.Thread(target=self._serve, args=(peer,), name="rpc connection", daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        writing = threading.Lock()
        with writing:  # nothing may overtake the greeting
            with self._lock:
                self._peers[peer] = writing
            with contextlib.suppress(OSError):
                peer.sendall(_line(self._greeting()))
        try:
            with peer.makefile("rb") as lines:
                for line in lines:
                    self._send(peer, writing, _line(self._answer(line)))
        except OSError as error:
            say("connection lost", error=str(error))
        finally:
            self._drop(peer)

    def _answer(self, line: bytes) -> Body:
        request: Body = {}
        try:
            request = json.loads(line)
            return {"id": request.get("id"), "result": self._call(request["method"], request.get("params") or {})}
        except Refused as refusal:
            return {"id": request.get("id"), "error": {"code": refusal.code, "message": str(refusal)}}
        except Exception as error:  # a request must never end the process that runs the guest
            say("request failed", method=request.get("method"), error=repr(error))
            return {"id": request.get("id"), "error": {"code": "Internal", "message": str(error) or repr(error)}}

    def _send(self, peer: socket.socket, writing: threading.Lock, line: bytes) -> None:
        try:
            with writing:
                peer.sendall(line)
        except OSError:
            self._drop(peer)

    def _drop(self, peer: socket.socket) -> None:
        with self._lock:
            self._peers.pop(peer, None)
        with contextlib.suppress(OSError):
            peer.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            peer.close()


def _line(body: Body) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode() + b"\n"
