"""Getting along with a firewall that forwards nothing unless told to (docker's, ufw's, a hand-made one).

A packet must be accepted by every table's chain at a hook, so our own rules can't overrule the policy `drop` of the
chain FORWARD that iptables keeps. Where it is so, rules for our bridge are put first into the chain that the firewall
has for such exceptions (`DOCKER-USER`), or else into FORWARD itself. They carry our mark and go with the network.
"""

from __future__ import annotations

from typing import Any

from kumo.host.nftables import Nft, NftError

_FAMILY, _TABLE = "ip", "filter"
_CHAINS = ("DOCKER-USER", "FORWARD")


def _mark(bridge: str) -> str:
    return f"kumo pods {bridge}"


def open_forwarding(nft: Nft, bridge: str) -> bool:
    """Let packets from and to the bridge pass, if a firewall would drop them; whether that was so. Idempotent."""
    content = nft.list_table(_FAMILY, _TABLE)
    chains = {item["chain"]["name"]: item["chain"] for item in content if "chain" in item}
    if chains.get("FORWARD", {}).get("policy") != "drop":
        return False
    if _ours(content, bridge):
        return True
    chain = next(name for name in _CHAINS if name in chains)
    place = f"insert rule {_FAMILY} {_TABLE} {chain}"
    nft.apply(
        f'{place} oifname "{bridge}" counter accept comment "{_mark(bridge)}"\n'
        f'{place} iifname "{bridge}" counter accept comment "{_mark(bridge)}"\n'
    )
    return True


def close_forwarding(nft: Nft, bridge: str) -> None:
    """Take our rules away again, wherever they are."""
    try:
        found = _ours(nft.list_table(_FAMILY, _TABLE), bridge)
    except NftError:
        return
    nft.apply("".join(f"delete rule {_FAMILY} {_TABLE} {r['chain']} handle {r['handle']}\n" for r in found))


def _ours(content: list[dict[str, Any]], bridge: str) -> list[dict[str, Any]]:
    return [item["rule"] for item in content if "rule" in item and item["rule"].get("comment") == _mark(bridge)]
