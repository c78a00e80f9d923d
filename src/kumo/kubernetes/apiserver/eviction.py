"""POST pods/eviction: a deletion that a disruption budget may refuse (policy/v1 Eviction)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from kumo.api.errors import StatusError, bad_request, internal, too_many_requests
from kumo.api.objects import Object, is_deleting, labels_of, timestamp
from kumo.api.resources import GVK
from kumo.api.selectors import matches
from kumo.kubernetes.apiserver import bodies
from kumo.kubernetes.apiserver.attributes import RequestInfo
from kumo.kubernetes.apiserver.call import Call
from kumo.kubernetes.apiserver.core import Core
from kumo.kubernetes.apiserver.deleting import delete
from kumo.kubernetes.apiserver.deletion import parse_options
from kumo.kubernetes.apiserver.entry import Entry
from kumo.kubernetes.apiserver.incoming import check_kind
from kumo.kubernetes.apiserver.managed_fields import untracked
from kumo.kubernetes.apiserver.matching import Match
from kumo.kubernetes.apiserver.updating import missing, modify

_EVICTION = GVK("policy", "v1", "Eviction")
_UNBUDGETED = ("Succeeded", "Failed", "Pending")
_MOST_DISRUPTED = 2000


async def evict(core: Core, call: Call) -> Object:
    """Delete the pod if every budget allows it; the Status to answer. Raises 400, 404, 409, 429, 500."""
    data = await bodies.read(call.request)
    body = check_kind(bodies.decode(data, bodies.media_type(call.request), "Eviction"), _EVICTION)
    name = (body.get("metadata") or {}).get("name")
    if name not in (None, "", call.info.name):
        raise bad_request("name in URL does not match name in Eviction object")
    options = parse_options(body.get("deleteOptions") or {}, call.query)
    if call.dry_run():
        options = replace(options, dry_run=("All",))
    entry = core.storage.get(call.resource, call.namespace, call.info.name)
    if entry is None:
        raise missing(call)
    pod = entry.object()
    counts = (pod.get("status") or {}).get("phase") not in _UNBUDGETED and not is_deleting(pod)
    if counts:
        budgets = list(_budgets(core, pod))
        if len(budgets) > 1:
            raise internal(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
            )
        if budgets:
            await _spend(core, call, budgets[0], pod, dry=bool(options.dry_run))
    await delete(core, call, options)
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def _budgets(core: Core, pod: Object) -> Iterator[Entry]:
    where = core.cache.of("policy", "poddisruptionbudgets")
    for entry in where.entries(Match(pod["metadata"]["namespace"])):
        if matches((entry.object().get("spec") or {}).get("selector"), labels_of(pod)):
            yield entry


async def _spend(core: Core, call: Call, budget: Entry, pod: Object, *, dry: bool) -> None:
    """Take one disruption off the budget. Raises 429."""
    resource = core.registry.find("policy", "v1", "poddisruptionbudgets")
    assert resource is not None
    name = pod["metadata"]["name"]
    if dry:
        _take(budget.object(), name, healthy=_healthy(pod))
        return
    info = RequestInfo("update", "", "policy", "v1", budget.namespace, "poddisruptionbudgets", "status", budget.name)
    own = Call(call.request, info, call.user, resource, {}, call.warnings)

    def make(old: Object) -> Object:
        _take(old, name, healthy=_healthy(pod))
        return old

    await modify(core, own, make, subresource="status", free=True, track=untracked)


def _healthy(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def _take(budget: Object, pod: str, *, healthy: bool) -> None:
    status, meta = budget.setdefault("status", {}), budget["metadata"]
    if (status.get("observedGeneration") or 0) < (meta.get("generation") or 0):
        text = f"The disruption budget {meta['name']} is still being processed by the server."
        raise _refused("Cannot evict pod as it would violate the pod's disruption budget.", text, retry=10)
    enough = (status.get("currentHealthy") or 0) >= (status.get("desiredHealthy") or 0)
    always = (budget.get("spec") or {}).get("unhealthyPodEvictionPolicy") == "AlwaysAllow"
    if not healthy and (always or (enough and status.get("desiredHealthy"))):
        return
    allowed = status.get("disruptionsAllowed") or 0
    if allowed <= 0:
        text = (
            f"The disruption budget {meta['name']} needs {status.get('desiredHealthy') or 0} healthy pods "
            f"and has {status.get('currentHealthy') or 0} currently"
        )
        raise _refused("Cannot evict pod as it would violate the pod's disruption budget.", text)
    disrupted = status.setdefault("disruptedPods", {})
    if len(disrupted) > _MOST_DISRUPTED:
        raise _refused("Cannot evict pod as it would violate the pod's disruption budget.", "too many evictions")
    status["disruptionsAllowed"] = allowed - 1
    disrupted[pod] = timestamp()


def _refused(message: str, cause: str, retry: int = 0) -> StatusError:
    error = too_many_requests(message, retry)
    details: Object = {"causes": [{"reason": "DisruptionBudget", "message": cause}]}
    if retry:
        details["retryAfterSeconds"] = retry
    return StatusError(429, error.reason, message, details, error.headers if retry else {})
