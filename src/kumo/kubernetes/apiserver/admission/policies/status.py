"""The controller of ValidatingAdmissionPolicy's status: checks each new generation, and writes down what it found.

Upstream runs it in kube-controller-manager (`validatingadmissionpolicy-status-controller`); here it sits beside the
schemas it needs.
"""

from __future__ import annotations

import asyncio

import structlog

from kumo.api.errors import StatusError, is_conflict, is_not_found
from kumo.api.objects import Object
from kumo.kubernetes.apiserver.admission.equivalents import Equivalents
from kumo.kubernetes.apiserver.admission.policies.validating import POLICIES
from kumo.kubernetes.apiserver.attributes import Reader
from kumo.kubernetes.apiserver.entry import Entry
from kumo.machinery.client import Client
from kumo.machinery.workqueue import WorkQueue

_log = structlog.get_logger("kumo.admission.policies")


class PolicyStatus:
    """Keeps `status.observedGeneration` and `status.typeChecking` of validating policies."""

    def __init__(self, reader: Reader, equivalents: Equivalents) -> None:
        self._reader = reader
        self._equivalents = equivalents
        self._queue: WorkQueue[str] = WorkQueue()

    def changed(self, group: str, resource: str, old: Entry | None, new: Entry | None) -> None:
        """A policy was written."""
        if new is not None:
            self._queue.add(new.name)

    async def run(self, client: Client) -> None:
        """Look at the policies that there are, then at those that are written, until cancelled."""
        for policy in self._reader.objects(POLICIES):
            self._queue.add(policy["metadata"]["name"])
        while True:
            name = await self._queue.get()
            try:
                await self._sync(client, name)
                self._queue.forget(name)
            except StatusError as error:
                if not is_not_found(error):
                    if not is_conflict(error):
                        _log.warning("a policy's status will be tried again", name=name, error=error.message)
                    self._queue.retry(name)
            except Exception:
                _log.exception("a policy's status will be tried again", name=name)
                self._queue.retry(name)
            finally:
                self._queue.done(name)

    async def _sync(self, client: Client, name: str) -> None:
        policy = self._reader.get(POLICIES, name)
        if policy is None:
            return
        generation = policy["metadata"].get("generation") or 0
        if generation <= ((policy.get("status") or {}).get("observedGeneration") or 0):
            return
        # CEL is loaded only where there is a policy.
        from kumo.kubernetes.apiserver.admission.policies.type_checking import warnings_of

        warnings = await asyncio.to_thread(warnings_of, policy, self._equivalents)
        checking: Object = {"expressionWarnings": warnings} if warnings else {}
        status = {**(policy.get("status") or {}), "observedGeneration": generation, "typeChecking": checking}
        await client.update_status(POLICIES, {**policy, "status": status})
