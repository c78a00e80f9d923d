"""Rules, sets and elements that many owners add to one nftables table, and the smallest transaction between two states.

No I/O: `FragmentTable.change` gives commands in nft's language for `kumo.host.nftables`. Several owners may claim the
same element (endpoints that two Services share, a node port that two ask for): the first owner by key has it, and the
next one gets it when he goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import NamedTuple

from kumo.api.objects import Key


class Element(NamedTuple):
    """Where an element is: the set's or map's name, and the key."""

    where: str
    key: str


@dataclass(frozen=True, slots=True)
class Fragment:
    """What one owner adds to the table: sets by name, chains with their rules, elements with their value ("" in sets).

    Rules may name sets and chains of the same fragment only, and of the table's fixed part.
    """

    sets: dict[str, str] = field(default_factory=dict)
    chains: dict[str, tuple[str, ...]] = field(default_factory=dict)
    elements: dict[Element, str] = field(default_factory=dict)


_EMPTY = Fragment()


class FragmentTable:
    """What the kernel has, as fragments by owner. `change` gives the commands and remembers the new state."""

    def __init__(self, family: str, name: str) -> None:
        self._name = f"{family} {name}"
        self._fragments: dict[Key, Fragment] = {}
        self._claims: dict[Element, dict[Key, str]] = {}

    def clear(self) -> None:
        """Forget everything: the table in the kernel is empty again."""
        self._fragments.clear()
        self._claims.clear()

    def owners(self) -> set[Key]:
        """Who has a fragment."""
        return set(self._fragments)

    def elements(self) -> dict[Element, str]:
        """Every element with the value that counts."""
        return {element: claims[min(claims)] for element, claims in self._claims.items()}

    def change(self, wanted: Mapping[Key, Fragment]) -> str:
        """The commands after which these owners have these fragments (an empty one takes the owner away)."""
        added: list[str] = []
        ruled: list[str] = []
        removed: list[str] = []
        before: dict[Element, str | None] = {}
        for owner, new in wanted.items():
            old = self._fragments.get(owner, _EMPTY)
            if old == new:
                continue
            self._change_sets(old, new, added, removed)
            self._change_chains(old, new, added, ruled, removed)
            self._change_claims(owner, old, new, before)
            if new == _EMPTY:
                self._fragments.pop(owner, None)
            else:
                self._fragments[owner] = new
        gone, come = self._change_elements(before)
        # Chains must be unused before they can be deleted, and sets before their chains' rules are gone.
        flushed = [line for line in removed if line.startswith("flush")]
        deleted = sorted((line for line in removed if not line.startswith("flush")), key=lambda x: "delete set" in x)
        lines = [*added, *gone, *ruled, *come, *flushed, *deleted]
        return "\n".join(lines) + "\n" if lines else ""

    def _change_sets(self, old: Fragment, new: Fragment, added: list[str], removed: list[str]) -> None:
        for name, definition in new.sets.items():
            if name not in old.sets:
                added.append(f"add set {self._name} {name} {{ {definition} }}")
        removed.extend(f"delete set {self._name} {name}" for name in old.sets if name not in new.sets)

    def _change_chains(
        self, old: Fragment, new: Fragment, added: list[str], ruled: list[str], removed: list[str]
    ) -> None:
        for name, rules in new.chains.items():
            if old.chains.get(name) == rules:
                continue
            verb = "flush" if name in old.chains else "add"
            added.append(f"{verb} chain {self._name} {name}")
            ruled.extend(f"add rule {self._name} {name} {rule}" for rule in rules)
        for name in old.chains:
            if name not in new.chains:
                removed += [f"flush chain {self._name} {name}", f"delete chain {self._name} {name}"]

    def _change_claims(self, owner: Key, old: Fragment, new: Fragment, before: dict[Element, str | None]) -> None:
        for element in old.elements | new.elements:  # in a stable order, unlike a set
            if old.elements.get(element) == new.elements.get(element):
                continue
            claims = self._claims.setdefault(element, {})
            before.setdefault(element, claims[min(claims)] if claims else None)
            if element in new.elements:
                claims[owner] = new.elements[element]
            else:
                claims.pop(owner, None)

    def _change_elements(self, before: dict[Element, str | None]) -> tuple[list[str], list[str]]:
        gone: dict[str, list[str]] = {}
        come: dict[str, list[str]] = {}
        for element, old in before.items():
            claims = self._claims[element]
            new = claims[min(claims)] if claims else None
            if not claims:
                del self._claims[element]
            if old == new:
                continue
            if old is not None:
                gone.setdefault(element.where, []).append(element.key)
            if new is not None:
                come.setdefault(element.where, []).append(f"{element.key} : {new}" if new else element.key)
        return self._lines("delete", gone), self._lines("add", come)

    def _lines(self, verb: str, elements: dict[str, list[str]]) -> list[str]:
        found = sorted(elements.items(), reverse=True)
        return [f"{verb} element {self._name} {where} {{ {', '.join(keys)} }}" for where, keys in found]


def disjoint(ranges: Iterable[str]) -> list[str]:
    """The CIDR ranges of one family without those that lie in others: a set of intervals takes no overlaps."""
    networks = sorted({ip_network(r) for r in ranges}, key=lambda n: (n.prefixlen, int(n.network_address)))
    kept: list[IPv4Network | IPv6Network] = []
    for network in networks:
        if not any(network.network_address in wider for wider in kept):
            kept.append(network)
    return [str(n) for n in kept]
