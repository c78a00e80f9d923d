"""Shuffle sharding: which few of many queues a flow may use, so that two flows rarely share all of theirs. Pure."""

from __future__ import annotations

import hashlib
import math

MAX_HASH_BITS = 60


def entropy_bits(deck: int, hand: int) -> int:
    """The bits of a hash that dealing `hand` cards off a deck of `deck` uses up."""
    return math.ceil(math.log2(deck) * hand)


def flow_hash(schema: str, distinguisher: str) -> int:
    """The flow's hash: 64 bits of the SHA-256 of its flow schema's name and its distinguisher."""
    digest = hashlib.sha256(f"{schema}\0{distinguisher}".encode()).digest()
    return int.from_bytes(digest[:8], "little")


def deal(value: int, deck: int, hand: int) -> list[int]:
    """`hand` different cards out of `deck` (numbered from 0), all hands being about equally likely."""
    dealt: list[int] = []
    for position in range(hand):
        value, card = divmod(value, deck - position)
        for earlier in sorted(dealt):
            if card >= earlier:
                card += 1
        dealt.append(card)
    return dealt
