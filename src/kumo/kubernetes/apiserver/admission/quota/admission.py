"""The ResourceQuota plugin: one namespace's writes are judged one after the other, charged together, then let go."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from kumo.api.errors import StatusError, internal, modified
from kumo.api.objects import Object, name_of, namespace_of
from kumo.api.quota import Amount, Amounts, Resource, Tally, texts
from kumo.api.quota.amounts import add
from kumo.api.resources import GVR
from kumo.kubernetes.apiserver.admission.config import LimitedResource
from kumo.kubernetes.apiserver.admission.quota.decision import charges, handles
from kumo.kubernetes.apiserver.admission.quota.ledger import QUOTAS, Ledger, QuotaView
from kumo.kubernetes.apiserver.admission.quota.writing import QuotaWriter
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes, Reader

_ROUNDS = 10
_PATIENCE = 10.0


class _Waiter:
    """A write that waits for its answer."""

    def __init__(self, resource: Resource, attrs: AdmissionAttributes) -> None:
        self.resource = resource
        self.attrs = attrs
        self.charges: dict[str, Amounts] = {}
        self.answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def allow(self) -> None:
        """Let the write go on."""
        if not self.answer.done():
            self.answer.set_result(None)

    def refuse(self, error: Exception) -> None:
        """End the write."""
        if not self.answer.done():
            self.answer.set_exception(error)


class ResourceQuota:
    """Refuses writes that would exceed a quota, and charges the others. Without a `writer` nothing is charged."""

    def __init__(
        self, reader: Reader, writer: QuotaWriter | None = None, limited: Sequence[LimitedResource] = ()
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._limited = limited
        self._ledgers: dict[str, Ledger] = {}
        self._waiting: dict[str, list[_Waiter]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._heard: set[Resource] = set()
        for quota in reader.objects(QUOTAS):
            self._put(quota)
        reader.listen(QUOTAS, self._quota_changed)

    # -- what there is ----------------------------------------------------------------------------------------------

    def _quota_changed(self, namespace: str, name: str) -> None:
        quota = self._reader.get(QUOTAS, name, namespace)
        if quota is not None:
            self._put(quota)
            return
        ledger = self._ledgers.get(namespace)
        if ledger is not None:
            ledger.views.pop(name, None)
            ledger.tallies.pop(name, None)
            if not ledger.views:
                del self._ledgers[namespace]

    def _put(self, quota: Object) -> None:
        ledger = self._ledgers.setdefault(namespace_of(quota), Ledger())
        view = QuotaView(quota)
        before = ledger.views.get(view.name)
        if before is not None and before.spec != view.spec:
            ledger.tallies.pop(view.name, None)
        ledger.views[view.name] = view

    def _listen(self, resource: Resource) -> None:
        """Keep the tallies up to date with the resource's objects, from now on."""
        if resource in self._heard:
            return
        self._heard.add(resource)
        gvr = GVR(resource.group, "v1", resource.resource)

        def changed(namespace: str, name: str) -> None:
            ledger = self._ledgers.get(namespace)
            if ledger is not None and (ledger.tallies or ledger.promises):
                ledger.shown(resource, name, self._reader.get(gvr, name, namespace))

        self._reader.listen(gvr, changed)

    async def _tally(self, namespace: str, ledger: Ledger, view: QuotaView) -> None:
        """Count what there is, unless it is known already; other requests get their turn meanwhile."""
        if view.name in ledger.tallies:
            return
        tally = ledger.tallies[view.name] = Tally(view.spec)
        for resource in tally.resources:
            self._listen(resource)
            objects = self._reader.objects(GVR(resource.group, "v1", resource.resource), namespace)
            for _ in tally.fill(resource, objects):
                await asyncio.sleep(0)

    # -- writes -----------------------------------------------------------------------------------------------------

    async def validate(self, attrs: AdmissionAttributes) -> None:
        """Raise 403 for a write that does not fit, as upstream words it."""
        if attrs.namespace not in self._ledgers and not self._limited:
            return
        resource = Resource(attrs.gvr.group, attrs.gvr.resource)
        if not attrs.namespace or not handles(resource, attrs):
            return
        ledger = self._ledgers.get(attrs.namespace)
        views = () if ledger is None else ledger.views.values()
        if not self._limited and not any(view.names(resource) for view in views):
            return
        waiter = _Waiter(resource, attrs)
        self._waiting.setdefault(attrs.namespace, []).append(waiter)
        if attrs.namespace not in self._tasks:
            task = asyncio.create_task(self._work(attrs.namespace), name=f"quota of {attrs.namespace}")
            self._tasks[attrs.namespace] = task
        try:
            async with asyncio.timeout(_PATIENCE):
                await waiter.answer
        except TimeoutError:
            raise internal("resource quota evaluation timed out") from None

    def abandon(self, attrs: AdmissionAttributes) -> None:
        """The write did not reach the store: what it was promised is free (its charge is recounted by a controller)."""
        ledger = self._ledgers.get(attrs.namespace)
        if ledger is not None and ledger.promises:
            key = (Resource(attrs.gvr.group, attrs.gvr.resource), name_of(attrs.object or {}))
            promise = ledger.promises.get(key)
            if promise is not None and promise.attrs is attrs:
                del ledger.promises[key]

    async def _work(self, namespace: str) -> None:
        """Judge the namespace's waiting writes until there are none."""
        batch: list[_Waiter] = []
        try:
            while self._waiting.get(namespace):
                batch = self._waiting.pop(namespace)
                await self._judge(namespace, batch)
        except Exception as error:
            for waiter in (*batch, *self._waiting.pop(namespace, ())):
                waiter.refuse(error)
        finally:
            del self._tasks[namespace]

    async def _judge(self, namespace: str, batch: list[_Waiter]) -> None:
        """Answer every write of the batch. Quotas that somebody else has written meanwhile are looked at again."""
        only: set[str] | None = None
        for _ in range(_ROUNDS):
            ledger = self._ledgers.get(namespace, Ledger())
            ledger.tidy()
            views = [view for view in ledger.views.values() if only is None or view.name in only]
            batch = [waiter for waiter in batch if not waiter.answer.done()]
            for view in views:
                if any(view.names(waiter.resource) for waiter in batch):
                    await self._tally(namespace, ledger, view)
            added = self._charge_all(ledger, views, batch)
            only = set()
            for view in views:
                if added.get(view.name) and not await self._write(namespace, ledger, view, added[view.name]):
                    only.add(view.name)
            if not only:
                self._let_go(ledger, batch)
                return
        for waiter in batch:
            waiter.refuse(modified("", "resourcequotas", next(iter(only or ("",)))))

    def _let_go(self, ledger: Ledger, batch: Sequence[_Waiter]) -> None:
        for waiter in batch:
            if not waiter.answer.done():
                if waiter.charges:
                    ledger.promise(waiter.resource, waiter.attrs, waiter.charges)
                waiter.allow()

    def _charge_all(self, ledger: Ledger, views: Sequence[QuotaView], batch: Sequence[_Waiter]) -> dict[str, Amounts]:
        """Judge each write with those before it charged; what all of them add to each quota."""
        added: dict[str, Amounts] = {}

        def used(view: QuotaView, name: str) -> Amount:
            now = ledger.used(view, name)
            more = added.get(view.name, {}).get(name)
            return now if more is None else now.plus(more)

        for waiter in batch:
            try:
                found = charges(waiter.attrs, waiter.resource, views, used, self._limited)
            except StatusError as error:
                waiter.refuse(error)
                continue
            if waiter.attrs.dry_run:
                waiter.allow()
                continue
            waiter.charges |= found
            for name, amounts in found.items():
                added[name] = add(added.get(name, {}), amounts)
        return added

    async def _write(self, namespace: str, ledger: Ledger, view: QuotaView, added: Amounts) -> bool:
        if self._writer is None:
            return True
        used = dict(view.used)
        for name, amount in added.items():
            used[name] = ledger.used(view, name).plus(amount)
        return await self._writer.write(namespace, view.name, view.revision, texts(used))
