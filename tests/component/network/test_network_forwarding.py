"""Exceptions in a firewall that forwards nothing, in a namespace of the test's own."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from kumo.host.network.forwarding import close_forwarding, open_forwarding
from kumo.host.network.namespaces import run_in_netns
from kumo.host.nftables import Nft

pytestmark = [pytest.mark.component, pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces")]

DROPPING = """
table ip filter {
    chain FORWARD { type filter hook forward priority filter; policy drop; }
}
"""


@pytest.fixture
def netns() -> Iterator[str]:
    name = f"kt{uuid.uuid4().hex[:10]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    yield f"/run/netns/{name}"
    subprocess.run(["ip", "netns", "del", name], check=True)


def rules(nft: Nft) -> list[tuple[str, str]]:
    found: list[dict[str, Any]] = [i["rule"] for i in nft.list_table("ip", "filter") if "rule" in i]
    return [(r["chain"], r.get("comment", "")) for r in found]


@pytest.mark.parametrize(
    ("ruleset", "chain"),
    [
        ("", ""),
        (DROPPING.replace("drop", "accept"), ""),
        (DROPPING, "FORWARD"),
        (DROPPING + "add chain ip filter DOCKER-USER\n", "DOCKER-USER"),
    ],
)
def test_an_exception_is_made_where_it_is_needed_and_taken_away(netns: str, ruleset: str, chain: str) -> None:
    def work() -> None:
        nft = Nft()
        nft.apply(ruleset)
        expected = [(chain, "kumo pods kumo0")] * 2 if chain else []
        for _ in range(2):
            assert open_forwarding(nft, "kumo0") is bool(chain)
            assert rules(nft) == expected
        close_forwarding(nft, "kumo1")
        assert rules(nft) == expected
        close_forwarding(nft, "kumo0")
        assert rules(nft) == []

    run_in_netns(netns, work)
