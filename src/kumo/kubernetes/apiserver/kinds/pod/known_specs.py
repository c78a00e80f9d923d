"""The pod specs that have been judged good lately, by their JSON: replicas come in numbers, and each changes often.

Validation and warnings are functions of the spec alone but for a few fields, whose specs are not remembered; only that
nothing was found is. The one thing in which admitted replicas differ, the name that the server made up for the volume
with the token, has the same form always: what is said of a spec with one such name holds for every other.
"""

from __future__ import annotations

import re
from threading import Lock
from typing import Any

import msgspec

from kumo.api.objects import NAME_SUFFIX_ALPHABET

TOKEN_VOLUME = "kube-api-access-"
"""What the name of the volume with a pod's token begins with, before a random suffix."""
MOST = 64
LONGEST = 1 << 14
_MADE_UP = re.compile(f"{TOKEN_VOLUME}[{NAME_SUFFIX_ALPHABET}]{{5}}")
_encode = msgspec.json.Encoder().encode


class KnownSpecs:
    """What is known of the last specs that were judged.

    Of a spec that is asked about twice in a row (is it good, is there something to warn of) the text is made once: it
    must not be changed between. Large objects are judged in threads of their own, beside the loop's.
    """

    __slots__ = ("_last", "_lock", "_once", "_texts")

    def __init__(self) -> None:
        self._lock = Lock()
        self._texts: dict[bytes, bool] = {}
        """The good specs, and whether there is nothing to warn of either."""
        self._once: dict[int, None] = {}
        """The hashes of the good specs that have come once."""
        self._last: tuple[dict[str, Any] | None, bytes] = (None, b"")

    def is_good(self, spec: dict[str, Any]) -> bool:
        """Whether nothing was wrong with such a spec lately."""
        text = spec_text(spec)
        self._last = (spec, text)
        with self._lock:
            silent = self._texts.pop(text, None)
            if silent is None:
                return False
            self._texts[text] = silent
        return True

    def add_good(self, spec: dict[str, Any]) -> None:
        """Remember that nothing is wrong with the spec, in place of the one that was judged least lately.

        Only its hash when it comes for the first time: most specs that are not replicas never come again.
        """
        text = self._text_of(spec)
        if not text:
            return
        with self._lock:
            if self._come_again(hash(text)):
                if len(self._texts) >= MOST:
                    del self._texts[next(iter(self._texts))]
                self._texts[text] = False

    def is_silent(self, spec: dict[str, Any]) -> bool:
        """Whether there was nothing to warn of in such a spec lately."""
        return self._texts.get(self._text_of(spec), False)

    def add_silent(self, spec: dict[str, Any]) -> None:
        """Remember that there is nothing to warn of in the spec, if it is known to be good. It may be changed now."""
        text = self._text_of(spec)
        self._last = (None, b"")
        with self._lock:
            if text in self._texts:
                self._texts[text] = True

    def _come_again(self, mark: int) -> bool:
        if mark in self._once:
            del self._once[mark]
            return True
        if len(self._once) >= MOST:
            del self._once[next(iter(self._once))]
        self._once[mark] = None
        return False

    def _text_of(self, spec: dict[str, Any]) -> bytes:
        last, text = self._last
        return text if last is spec else spec_text(spec)


def spec_text(spec: dict[str, Any]) -> bytes:
    """What stands for the spec of a pod, and for all others of which the same is true; empty if nothing does.

    The name of the token's volume is a byte that no JSON has. Empty for long ones, and where what is good depends on
    the pod around the spec: its name (volumes made for it) or its annotations (resource claims).
    """
    if spec.get("resourceClaims"):
        return b""
    name = ""
    for volume in spec.get("volumes") or ():
        if volume.get("ephemeral") is not None:
            return b""
        if not name and (volume.get("name") or "").startswith(TOKEN_VOLUME):
            name = volume["name"]
    text = _encode(spec)
    if len(text) > LONGEST:
        return b""
    return text.replace(name.encode(), b"\0") if name and _MADE_UP.fullmatch(name) else text
