"""POST pods/eviction: a deletion that a disruption budget may refuse (policy/v1 Eviction)."""

from __future__ import annotations

from dataclasses import replace

from kumo.api import conditions
from kumo.api.errors import Cause, StatusError, bad_request, conflict, invalid, is_conflict
from kumo.api.objects import Object, labels_of, timestamp
from kumo.api.resources import GVK
from kumo.api.selectors import matches
from kumo.kubernetes.apiserver.admission_view import UNASKED
from kumo.kubernetes.apiserver.attributes import RequestInfo
from kumo.kubernetes.apiserver.call import Call
from kumo.kubernetes.apiserver.core import Core
from kumo.kubernetes.apiserver.creation_review import admit_creation
from kumo.kubernetes.apiserver.deleting import delete
from kumo.kubernetes.apiserver.deletion import DeleteOptions, parse_options
from kumo.kubernetes.apiserver.eviction_budgets import (
    goes_uncounted,
    in_progress,
    is_unbudgeted,
    must_stay_as_is,
    take,
    the_one,
)
from kumo.kubernetes.apiserver.incoming import read_as
from kumo.kubernetes.apiserver.managed_fields import untracked
from kumo.kubernetes.apiserver.matching import Match
from kumo.kubernetes.apiserver.updating import missing, modify

_EVICTION = GVK("policy", "v1", "Eviction")
_ATTEMPTS = 20


async def evict(core: Core, call: Call) -> Object:
    """Delete the pod if its budget allows it; the Status to answer. Raises 400, 403, 404, 409, 422, 429, 500."""
    body = await _read(core, call)
    options = _options(call, body)
    pod = await _past_unbudgeted(core, call, options)
    if pod is not None:
        await _evict_budgeted(core, call, options, pod)
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


async def _read(core: Core, call: Call) -> Object:
    """The Eviction, after admission."""
    body = await read_as(call, _EVICTION, {"policy/v1beta1": "policy/v1"})
    meta = body.get("metadata") or {}
    if meta.get("name") != call.info.name:
        raise bad_request("name in URL does not match name in Eviction object")
    if meta.get("namespace") not in (None, "", call.namespace):
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    options = body.get("deleteOptions") or {}
    if options.get("ignoreStoreReadErrorWithClusterBreakingPotential"):
        field = "deleteOptions.ignoreStoreReadErrorWithClusterBreakingPotential"
        text = "Invalid value: true: can not be set for pod eviction, try after removing the option"
        raise invalid("policy", "Eviction", call.info.name, [Cause(field, text)])
    body["metadata"] = {**meta, "namespace": call.namespace}
    return await admit_creation(core, call, _EVICTION, body, subresource="eviction")


def _options(call: Call, body: Object) -> DeleteOptions:
    """The options of the deletion: a dry run if the request or the body says so. Raises 422."""
    stated = body.get("deleteOptions") or {}
    dry = call.dry_run()
    wanted = stated.get("dryRun") or ()
    if any(value != "All" for value in wanted):
        listed = ",".join(f'"{value}"' for value in wanted)
        text = f'Unsupported value: [{listed}]: supported values: "All"'
        raise invalid("meta.k8s.io", "DeleteOptions", "", [Cause("dryRun", text, "FieldValueNotSupported")])
    options = parse_options(stated, {})
    return replace(options, dry_run=("All",)) if dry else options


async def _past_unbudgeted(core: Core, call: Call, options: DeleteOptions) -> Object | None:
    """Delete the pod if no budget is to be asked (None then); else the pod."""
    for attempt in range(_ATTEMPTS):
        pod = _pod(core, call)
        if not is_unbudgeted(pod):
            return pod
        wanted = options
        if must_stay_as_is(pod) and not options.resource_version:
            wanted = replace(options, resource_version=pod["metadata"]["resourceVersion"])
        try:
            await _delete(core, call, wanted)
        except StatusError as error:
            if not is_conflict(error) or options.resource_version or attempt == _ATTEMPTS - 1:
                raise
        else:
            return None
    raise AssertionError("unreachable")


async def _evict_budgeted(core: Core, call: Call, options: DeleteOptions, pod: Object) -> None:
    """Ask the pod's budget, then delete the pod."""
    budget = the_one(_budgets(core, pod))
    uncounted = budget is not None and goes_uncounted(pod, budget)
    wanted = options
    if budget is not None and not uncounted:
        await _spend(core, call, budget, pod["metadata"]["name"], dry=bool(options.dry_run))
    elif uncounted:
        # Only as it was seen: should it become healthy now, the budget must be asked again.
        wanted = replace(options, resource_version=pod["metadata"]["resourceVersion"])
    try:
        await _delete(core, call, wanted)
    except StatusError as error:
        if budget is not None and uncounted and is_conflict(error) and not options.resource_version:
            raise in_progress(budget["metadata"]["name"]) from None
        raise


def _pod(core: Core, call: Call) -> Object:
    entry = core.storage.get(call.resource, call.namespace, call.info.name)
    if entry is None:
        raise missing(call)
    return call.resource.object(entry)


def _budgets(core: Core, pod: Object) -> list[Object]:
    """The budgets whose selector matches the pod; none for a pod without labels."""
    labels = labels_of(pod)
    if not labels:
        return []
    where = core.cache.of("policy", "poddisruptionbudgets")
    found = (entry.object() for entry in where.entries(Match(pod["metadata"]["namespace"])))
    return [budget for budget in found if matches((budget.get("spec") or {}).get("selector"), labels)]


async def _spend(core: Core, call: Call, budget: Object, pod: str, *, dry: bool) -> None:
    """Take one disruption off the budget, by compare-and-swap on its status. Raises 403, 429."""
    if dry:
        take(budget, pod)
        return
    resource = core.registry.find("policy", "v1", "poddisruptionbudgets")
    assert resource is not None
    name, namespace = budget["metadata"]["name"], budget["metadata"]["namespace"]
    info = RequestInfo("update", "", "policy", "v1", namespace, "poddisruptionbudgets", "status", name)
    own = Call(call.request, info, call.user, resource, {}, call.warnings)

    def make(old: Object) -> Object:
        fresh: Object = core.copy(old)
        take(fresh, pod)
        return fresh

    await modify(core, own, make, subresource="status", free=True, view=UNASKED, track=untracked)


async def _delete(core: Core, call: Call, options: DeleteOptions) -> None:
    """Say on the pod that it is evicted, then delete it."""
    if not options.dry_run:

        def make(old: Object) -> Object:
            _check_preconditions(old, options)
            condition = {
                "type": "DisruptionTarget",
                "status": "True",
                "reason": "EvictionByEvictionAPI",
                "message": "Eviction API: evicting",
                "lastProbeTime": None,
            }
            fresh: Object = core.copy(old)
            status = fresh.setdefault("status", {})
            conditions.set_condition(status.setdefault("conditions", []), condition, timestamp())
            return fresh

        own = replace(call, query={})
        entry = await modify(core, own, make, subresource="status", free=True, view=UNASKED, track=untracked)
        if options.resource_version:
            options = replace(options, resource_version=str(entry.revision))
    await delete(core, call, options, admitted=True)


def _check_preconditions(pod: Object, options: DeleteOptions) -> None:
    """Refuse when the pod is not the one that was meant. Raises 409."""
    meta = pod["metadata"]
    for kind, wanted, found, after in (
        ("UID", options.uid, meta["uid"], "The object might have been deleted and then recreated"),
        ("ResourceVersion", options.resource_version, meta["resourceVersion"], "The object might have been modified"),
    ):
        if wanted and wanted != found:
            why = f"the {kind} in the precondition ({wanted}) does not match the {kind} in record ({found}). {after}"
            raise conflict("", "Pod", meta["name"], why)
