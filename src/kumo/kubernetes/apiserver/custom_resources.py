"""Custom resources: served the moment their definition is written, cleaned up when it is deleted.

The definition's resources are put into the registry as the cache sees it, before its writer is answered. Conditions
(NamesAccepted, Established, Terminating) and the clean-up follow in `run` (upstream's naming, establishing and
finalizer controllers of `apiextensions-apiserver`).
"""

from __future__ import annotations

import asyncio

import structlog

from kumo.api.conditions import is_true, set_condition
from kumo.api.errors import StatusError, is_conflict, is_not_found
from kumo.api.objects import Object, is_deleting, timestamp
from kumo.api.resources import CRDS
from kumo.kubernetes.apiserver.conversion.conversions import Conversions
from kumo.kubernetes.apiserver.core import Core
from kumo.kubernetes.apiserver.custom import approval
from kumo.kubernetes.apiserver.definitions import accept_names, family_of
from kumo.kubernetes.apiserver.deletion import CLEANUP_FINALIZER, DeleteOptions, mark
from kumo.kubernetes.apiserver.entry import Entry
from kumo.kubernetes.apiserver.matching import Match
from kumo.kubernetes.apiserver.registry import Resource
from kumo.kubernetes.apiserver.storage import Gone
from kumo.machinery.client import Client
from kumo.machinery.workqueue import WorkQueue

_log = structlog.get_logger("kumo.apiserver.custom")


class CustomResources:
    """Keeps the registry in step with the definitions."""

    def __init__(self, core: Core, client: Client, conversions: Conversions) -> None:
        self._core = core
        self._conversions = conversions
        self._client = client
        self._queue: WorkQueue[str] = WorkQueue()
        self._served: dict[str, list[tuple[str, str, str]]] = {}
        """By definition: what is served of it (group, version, resource)."""
        self._stored: dict[str, Resource] = {}
        """By definition: its resource in the storage version, served or not."""
        self._generations: dict[str, tuple[str, int, bool]] = {}
        self._listening: set[tuple[str, str]] = set()
        self._refused: set[str] = set()
        """The definitions whose names are not (all) accepted."""

    def load(self) -> None:
        """Serve the resources of the definitions that are there, and of those that come."""
        for entry in self._definitions():
            self._changed(CRDS.group, CRDS.resource, None, entry)
        self._core.cache.listen(CRDS.group, CRDS.resource, self._changed)

    def _definitions(self) -> list[Entry]:
        return list(self._core.cache.of(CRDS.group, CRDS.resource).entries(Match()))

    def _changed(self, group: str, resource: str, old: Entry | None, new: Entry | None) -> None:
        name = (new or old).name  # type: ignore[union-attr]
        if self._refused and (new is None or old is None or self._names_changed(old, new)):
            for other in self._refused:
                if other != name and other.partition(".")[2] == name.partition(".")[2]:
                    self._queue.add(other)  # Names may have become free.
        if new is None:
            self._generations.pop(name, None)
            self._refused.discard(name)
            self._withdraw(name, [])
            self._conversions.drop(name)
            self._conversions.metrics.forget(name)
            self._stored.pop(name, None)
            return
        self._queue.add(name)
        definition = new.object()
        meta = definition["metadata"]
        version = (new.uid, int(meta.get("generation") or 0), bool(meta.get("deletionTimestamp")))
        if not is_true(definition, "Established") and accept_names(definition, self._others(definition))[1]:
            # Perhaps served already: the one that has the names was not yet told so when this one came.
            self._generations.pop(name, None)
            self._withdraw(name, [])
            self._conversions.drop(name)
            return
        if self._generations.get(name) == version:
            return
        try:
            family = family_of(definition, new.revision, self._conversions.of(definition))
        except Exception:
            _log.exception("a custom resource definition can't be served", name=name)
            return
        self._generations[name] = version
        resources = [family[v["name"]] for v in definition["spec"]["versions"] if v.get("served")]
        served = [(r.type.group, r.type.version, r.type.resource) for r in resources]
        for found in resources:
            self._core.registry.add(found)
        stored = self._stored[name] = next(r for r in family.values() if r.gvk == r.stored.gvk)
        self._serve_fields(stored.type.group, stored.type.resource)
        self._withdraw(name, served)

    @staticmethod
    def _names_changed(old: Entry, new: Entry) -> bool:
        before, after = old.object().get("status") or {}, new.object().get("status") or {}
        return before.get("acceptedNames") != after.get("acceptedNames")

    def _serve_fields(self, group: str, resource: str) -> None:
        """Note when an instance goes, for the clean-up of its definition."""
        if (group, resource) not in self._listening:
            self._listening.add((group, resource))
            self._core.cache.listen(group, resource, self._instance_changed)

    def _instance_changed(self, group: str, resource: str, old: Entry | None, new: Entry | None) -> None:
        if new is None:
            self._queue.add(f"{resource}.{group}")

    def _withdraw(self, name: str, served: list[tuple[str, str, str]]) -> None:
        """Serve no more what was served of the definition and is not in `served`."""
        for gone in self._served.get(name, []):
            if gone not in served:
                self._core.registry.remove(*gone)
        if served:
            self._served[name] = served
        else:
            self._served.pop(name, None)

    def _others(self, definition: Object) -> list[Object]:
        own = definition["metadata"]["name"]
        group = own.partition(".")[2]
        return [e.object() for e in self._definitions() if e.name != own and e.name.partition(".")[2] == group]

    # -- conditions and clean-up ------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Write conditions and clean up, until cancelled."""
        while True:
            name = await self._queue.get()
            try:
                await self._sync(name)
                self._queue.forget(name)
            except StatusError as error:
                if not is_conflict(error) and not is_not_found(error):
                    _log.warning("a custom resource definition will be tried again", name=name, error=error.message)
                self._queue.retry(name)
            except Exception:
                _log.exception("a custom resource definition will be tried again", name=name)
                self._queue.retry(name)
            finally:
                self._queue.done(name)

    async def _sync(self, name: str) -> None:
        entry = self._core.cache.of(CRDS.group, CRDS.resource).get("", name)
        if entry is None:
            return
        definition = entry.object()
        if is_deleting(definition):
            await self._clean_up(definition)
            return
        changed = judge(definition, self._others(definition))
        if is_true(definition, "NamesAccepted"):
            self._refused.discard(name)
        else:
            self._refused.add(name)
        if changed:
            await self._client.update_status(CRDS, definition)

    async def _clean_up(self, definition: Object) -> None:
        """Delete the instances; when none is left, let the definition go."""
        finalizers = definition["metadata"].get("finalizers") or []
        if CLEANUP_FINALIZER not in finalizers:
            return
        spec = definition["spec"]
        group, resource = spec["group"], spec["names"]["plural"]
        where = self._core.cache.of(group, resource)
        if len(where):
            await self._say_terminating(
                definition, "InstanceDeletionInProgress", "CustomResource deletion is in progress"
            )
            stored = self._stored[definition["metadata"]["name"]]
            await asyncio.gather(*(self._delete(stored, entry) for entry in list(where.entries(Match()))))
            return  # The last instance's going calls again.
        await self._say_terminating(definition, "InstanceDeletionCompleted", "removed all instances")
        fresh = await self._client.get(CRDS, definition["metadata"]["name"])
        fresh["metadata"]["finalizers"] = [f for f in finalizers if f != CLEANUP_FINALIZER]
        await self._client.update(CRDS, fresh)

    async def _delete(self, stored: Resource, entry: Entry) -> None:
        """Delete an instance, or mark it for deletion. Nobody is asked, nor need it be converted, however it lies."""
        found: Entry | None = entry
        while found is not None:
            obj = found.object()
            marked = mark(stored.type, obj, DeleteOptions())
            try:
                if marked is None:
                    await self._core.storage.remove(stored, found)
                elif not obj["metadata"].get("deletionTimestamp"):
                    await self._core.storage.replace(stored, found, marked)
                return
            except Gone as gone:
                found = gone.entry

    async def _say_terminating(self, definition: Object, reason: str, message: str) -> None:
        known = definition.setdefault("status", {})
        conditions = known["conditions"] = known.get("conditions") or []
        status = "False" if reason == "InstanceDeletionCompleted" else "True"
        if set_condition(conditions, _condition("Terminating", status, reason, message), timestamp()):
            made = await self._client.update_status(CRDS, definition)
            definition["metadata"]["resourceVersion"] = made["metadata"]["resourceVersion"]


def judge(definition: Object, others: list[Object]) -> bool:
    """Bring the definition's status up to date, in place; whether anything changed. `others` are those of its group."""
    status = definition.setdefault("status", {})
    conditions: list[Object] = status.get("conditions") or []
    status["conditions"] = conditions
    now = timestamp()
    names, reason, message = accept_names(definition, others)
    changed = bool(status.get("acceptedNames") != names)
    approved = approval.condition(definition)
    if approved is not None:
        kind = "KubernetesAPIApprovalPolicyConformant"
        changed |= set_condition(conditions, _condition(kind, *approved), now)
    status["acceptedNames"] = names
    if reason:
        changed |= set_condition(conditions, _condition("NamesAccepted", "False", reason, message), now)
        if not is_true(definition, "Established"):
            why = "not all names are accepted"
            changed |= set_condition(conditions, _condition("Established", "False", "NotAccepted", why), now)
    else:
        text = "no conflicts found"
        changed |= set_condition(conditions, _condition("NamesAccepted", "True", "NoConflicts", text), now)
        text = "the initial names have been accepted"
        changed |= set_condition(conditions, _condition("Established", "True", "InitialNamesAccepted", text), now)
    changed |= _structural(definition, conditions, now)
    stored = next(v["name"] for v in definition["spec"]["versions"] if v.get("storage"))
    versions = status.setdefault("storedVersions", [])
    if stored not in versions:
        versions.append(stored)
        changed = True
    return changed


def _structural(definition: Object, conditions: list[Object], now: str) -> bool:
    """NonStructuralSchema: only old definitions, written before it was a rule, can have it."""
    had = any(c["type"] == "NonStructuralSchema" for c in conditions)
    if not definition["spec"].get("preserveUnknownFields") and not had:
        return False
    found = non_structural(definition)
    if found:
        condition = _condition("NonStructuralSchema", "True", "Violations", found)
        return set_condition(conditions, condition, now)
    conditions[:] = [c for c in conditions if c["type"] != "NonStructuralSchema"]
    return had


def non_structural(definition: Object) -> str:
    """What keeps the schemas of a definition from being structural, as its condition says it; empty for nothing."""
    from kumo.kubernetes.apiserver.custom.structural import validate_structural

    spec = definition["spec"]
    found = []
    if spec.get("preserveUnknownFields"):
        found.append("spec.preserveUnknownFields: Invalid value: true: must be false")
    for index, version in enumerate(spec["versions"]):
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if schema is not None:
            causes = validate_structural(f"spec.versions[{index}].schema.openAPIV3Schema", schema)
            found += [f"{c.field}: {c.message}" for c in causes]
    return found[0] if len(found) == 1 else f"[{', '.join(found)}]" if found else ""


def _condition(kind: str, status: str, reason: str, message: str) -> Object:
    return {"type": kind, "status": status, "reason": reason, "message": message}
