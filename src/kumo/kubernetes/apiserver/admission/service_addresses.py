"""Cluster addresses of services, of one or two families (`service/storage/alloc.go`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from kumo.api.errors import Cause, internal, invalid
from kumo.kubernetes.apiserver.admission.service_holdings import Holdings
from kumo.kubernetes.apiserver.admission.service_metrics import AllocationCounts
from kumo.kubernetes.apiserver.admission.service_pools import Exhausted, OutOfRange, Taken
from kumo.kubernetes.apiserver.admission.service_ports import Undo
from kumo.kubernetes.apiserver.admission.service_ranges import ServiceRanges
from kumo.kubernetes.apiserver.attributes import Reader
from kumo.kubernetes.apiserver.kinds.service_families import fill_families, prefers_what_it_has
from kumo.kubernetes.apiserver.kinds.service_validation import validate_cluster_ips

_HEADLESS = "None"


class AddressAllocator:
    """Gives addresses of `blocks` (CIDRs, of the default family first) and of ServiceCIDRs that are ready."""

    def __init__(self, reader: Reader, blocks: Sequence[str], holdings: Holdings, counts: AllocationCounts) -> None:
        self._holdings, self._counts = holdings, counts
        ranges = [ServiceRanges(reader, block) for block in blocks]
        self._ranges = {found.own.family: found for found in ranges}
        for found in ranges:
            found.follow(holdings.addresses[found.own.network.version])

    def refresh(self) -> None:
        """Look whether the ServiceCIDRs changed."""
        for found in self._ranges.values():
            found.refresh()

    def give(self, name: str, spec: dict[str, Any], old: dict[str, Any], undo: Undo, *, dry: bool) -> None:
        """Fill families and addresses, in place. Raises 422, or 500 when there are no more addresses."""
        if spec.get("type") == "ExternalName" or prefers_what_it_has(spec, old):
            return
        found: list[Cause] = []
        validate_cluster_ips(spec, old, found)
        found = found or fill_families(spec, old, list(self._ranges))
        if found:
            raise invalid("", "Service", name, found)
        families: list[str] = spec["ipFamilies"]
        if spec.get("clusterIP") == _HEADLESS:
            return  # Families that the cluster has not got are all right then.
        if not old or old.get("type") == "ExternalName":
            self._fill(name, spec, families, 0, undo, dry)
        elif old.get("clusterIP") != _HEADLESS and len(old.get("ipFamilies") or ()) == 1 and len(families) == 2:
            self._fill(name, spec, families, 1, undo, dry)

    def stored(self, addresses: Sequence[tuple[int, int]]) -> None:
        """A service with these addresses is stored: it says itself what it holds."""
        for version, number in addresses:
            ranges = self._ranges.get(f"IPv{version}")
            if ranges is not None:
                ranges.release(number)

    def tidy(self) -> None:
        """Forget promises that have run out."""
        for ranges in self._ranges.values():
            ranges.tidy()

    def usage(self) -> Iterator[tuple[str, int, int]]:
        """How many addresses of each range are held and left."""
        for ranges in self._ranges.values():
            yield from ranges.usage(self._holdings.addresses[ranges.own.network.version])

    def _fill(
        self, name: str, spec: dict[str, Any], families: Sequence[str], first: int, undo: Undo, dry: bool
    ) -> None:
        stated = list(spec.get("clusterIPs") or ())
        every = stated + [""] * (len(families) - len(stated))
        for index in range(first, len(families)):
            ranges = self._ranges[families[index]]
            if every[index]:
                self._take(name, ranges, every, index, undo, dry)
            elif dry:
                every[index] = str(ranges.own.network.network_address)
            else:
                every[index] = self._next(name, ranges, undo)
        spec["clusterIP"], spec["clusterIPs"] = every[0], every

    def _next(self, name: str, ranges: ServiceRanges, undo: Undo) -> str:
        try:
            number = ranges.next()
        except Exhausted:
            self._counts.address_errors[ranges.block_of(0), "dynamic"] += 1
            raise internal(f'failed to allocate a serviceIP for Service "{name}": range is full') from None
        self._counts.addresses[ranges.block_of(number), "dynamic"] += 1
        undo.append(lambda: ranges.release(number))
        return ranges.own.text(number)

    def _take(self, name: str, ranges: ServiceRanges, every: Sequence[str], index: int, undo: Undo, dry: bool) -> None:
        wanted = every[index]
        try:
            number = ranges.own.number(wanted)
            if dry:
                ranges.check(number)
                return
            ranges.take(number)
        except ValueError:
            why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
            cause = Cause(f"spec.clusterIPs[{index}]", f'Invalid value: "{wanted}": {why}')
            raise invalid("", "Service", name, [cause]) from None
        except OutOfRange:
            own = (
                f"the provided IP ({wanted}) is not in the valid range. The range of valid IPs is {ranges.own.network}"
            )
            why = own if dry else "the provided network does not match the current range"
        except Taken:
            why = "provided IP is already allocated"
        else:
            self._counts.addresses[ranges.block_of(number), "static"] += 1
            undo.append(lambda: ranges.release(number))
            return
        if not dry:
            self._counts.address_errors[ranges.block_of(0), "static"] += 1
        shown = ",".join(f'"{address}"' for address in every)
        text = f"Invalid value: [{shown}]: failed to allocate IP {wanted}: {why}"
        raise invalid("", "Service", name, [Cause("spec.clusterIPs", text)])
