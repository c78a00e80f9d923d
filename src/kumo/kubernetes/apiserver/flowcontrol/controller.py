"""What the objects say, put to work: levels and flows for the gate, and the defaults and conditions kept true."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import structlog

from kumo.api.errors import StatusError, is_already_exists, is_conflict, is_not_found
from kumo.api.objects import Object, name_of, timestamp
from kumo.api.resources import GVR
from kumo.kubernetes.apiserver.attributes import Reader
from kumo.kubernetes.apiserver.flowcontrol import allocation
from kumo.kubernetes.apiserver.flowcontrol.defaults import (
    FLOWSCHEMAS,
    LEVELS,
    default_levels,
    default_schemas,
)
from kumo.kubernetes.apiserver.flowcontrol.flows import Flow, Level
from kumo.kubernetes.apiserver.flowcontrol.gate import Gate
from kumo.kubernetes.apiserver.flowcontrol.matching import names_namespaces
from kumo.kubernetes.apiserver.flowcontrol.reconcile import dangling, revised, unwanted
from kumo.machinery.client import Client

BORROWING_PERIOD = 10.0
_RETRY = 5.0
_log = structlog.get_logger("kumo.flowcontrol")


class FlowController:
    """Configures `gate` by the objects; `seats` is how many requests the server has in progress at most."""

    def __init__(self, gate: Gate, reader: Reader, client: Client, seats: int) -> None:
        self._gate = gate
        self._reader = reader
        self._client = client
        self._seats = seats
        self._changed = asyncio.Event()
        self._adjusted = time.monotonic()
        self.digest()

    def object_changed(self, *_: object) -> None:
        """A flow schema or a priority level has changed (a listener of the cache)."""
        self._changed.set()

    async def start(self) -> None:
        """Make the default objects, and use what the objects say. Raises StatusError."""
        await self._ensure()
        self.digest()

    async def run(self) -> None:
        """Follow the objects, keep the defaults and conditions true, lend and borrow seats, until cancelled."""
        self._changed.set()
        while True:
            try:
                async with asyncio.timeout(BORROWING_PERIOD):
                    await self._changed.wait()
            except TimeoutError:
                self.lend()
                continue
            self._changed.clear()
            self.digest()
            try:
                await self._ensure()
                await self._note_dangling()
            except StatusError as error:
                _log.warning("the configuration of priority and fairness can't be written", error=str(error))
                asyncio.get_running_loop().call_later(_RETRY, self._changed.set)

    # -- the gate ---------------------------------------------------------------------------------------------------

    def digest(self) -> None:
        """Give the gate what the objects say now; the mandatory ones hold even where they are missing."""
        found_levels = {name_of(o): o for o in _mandatory(default_levels())}
        found_levels |= {name_of(o): o for o in self._reader.objects(LEVELS)}
        schemas = {name_of(o): o for o in _mandatory(default_schemas())}
        schemas |= {name_of(o): o for o in self._reader.objects(FLOWSCHEMAS)}
        levels = self._gate.levels
        total = sum(_shares(obj["spec"]) for obj in found_levels.values())
        for name, obj in found_levels.items():
            self._shape(levels.setdefault(name, Level(name)), obj, total)
        for name in [n for n in levels if n not in found_levels]:
            level = levels[name]
            level.quiescing = True
            if not level.executing and not level.waiting:
                del levels[name]
        ordered = sorted(
            (s for s in schemas.values() if _level_of(s) in found_levels),
            key=lambda s: (s["spec"].get("matchingPrecedence") or 1000, name_of(s)),
        )
        flows = [(schema, self._flow(schema)) for schema in ordered]
        self._gate.configure(flows, by_namespace=any(names_namespaces(schema) for schema in ordered))
        self.lend()

    def _shape(self, level: Level, obj: Object, total: int) -> None:
        spec = obj["spec"]
        level.quiescing = False
        level.uid = obj["metadata"].get("uid") or ""
        level.exempt = spec.get("type") == "Exempt"
        part = spec.get("limited") or spec.get("exempt") or {}
        level.bounds = allocation.bounds(
            self._seats, _shares(spec), total, part.get("lendablePercent") or 0, part.get("borrowingLimitPercent")
        )
        if not level.limit:
            level.limit = level.bounds.nominal
        queuing = (part.get("limitResponse") or {}).get("queuing") or {}
        level.shape(
            min(queuing.get("queues") or 0, 10_000), queuing.get("handSize") or 0, queuing.get("queueLengthLimit") or 0
        )

    def _flow(self, schema: Object) -> Flow:
        method = (schema["spec"].get("distinguisherMethod") or {}).get("type") or ""
        level = self._gate.levels[_level_of(schema)]
        flow = Flow(name_of(schema), schema["metadata"].get("uid") or "", level, method)
        old = self._gate.flows.get(flow.name)
        if old is not None and old.level is level:
            flow.adopt(old)
        return flow

    def lend(self) -> None:
        """Adjust the levels' limits to what they have lately asked for."""
        now = time.monotonic()
        period, self._adjusted = now - self._adjusted, now
        levels = list(self._gate.levels.values())
        demands = [level.take_demand(period) for level in levels]
        total = sum(level.bounds.nominal for level in levels)
        limited = []
        for level, demand in zip(levels, demands, strict=True):
            if level.exempt:
                level.limit = max(level.bounds.lower, demand.high)
                total -= level.limit
            else:
                limited.append((level, demand))
        for (level, demand), limit in zip(limited, allocation.adjust(total, [d for _, d in limited]), strict=True):
            level.target = max(demand.smoothed, float(min(demand.bounds.nominal, demand.high)))
            level.limit = limit

    # -- the objects ------------------------------------------------------------------------------------------------

    async def _ensure(self) -> None:
        """Create, correct and remove default objects where needed."""
        for gvr, wanted in ((LEVELS, default_levels()), (FLOWSCHEMAS, default_schemas())):
            found = {name_of(o): o for o in self._reader.objects(gvr)}
            for obj in wanted:
                await self._ensure_one(gvr, obj, found.get(name_of(obj)))
            names = {name_of(o) for o in wanted}
            for obj in found.values():
                if unwanted(obj, names):
                    await self._remove(gvr, name_of(obj))

    async def _ensure_one(self, gvr: GVR, wanted: Object, found: Object | None) -> None:
        try:
            if found is None:
                await self._client.create(gvr, wanted)
            elif (new := revised(found, wanted)) is not None:
                await self._client.update(gvr, new)
        except StatusError as error:
            if not (is_already_exists(error) or is_conflict(error) or is_not_found(error)):
                raise  # else: somebody was faster, and what he did calls us again

    async def _remove(self, gvr: GVR, name: str) -> None:
        try:
            await self._client.delete(gvr, name)
        except StatusError as error:
            if not is_not_found(error):
                raise

    async def _note_dangling(self) -> None:
        levels = {name_of(o) for o in self._reader.objects(LEVELS)}
        for schema in self._reader.objects(FLOWSCHEMAS):
            new = dangling(schema, levels, timestamp())
            if new is None:
                continue
            try:
                await self._client.update_status(FLOWSCHEMAS, new)
            except StatusError as error:
                if not (is_conflict(error) or is_not_found(error)):
                    raise


def _mandatory(objects: Sequence[Object]) -> list[Object]:
    return [o for o in objects if name_of(o) in ("exempt", "catch-all")]


def _level_of(schema: Object) -> str:
    return str(schema["spec"]["priorityLevelConfiguration"]["name"])


def _shares(spec: dict[str, Any]) -> int:
    part = spec.get("limited") if spec.get("type") == "Limited" else spec.get("exempt")
    found = (part or {}).get("nominalConcurrencyShares")
    return 30 if found is None and spec.get("type") == "Limited" else int(found or 0)
