"""What a PodDisruptionBudget says to an eviction: `pkg/registry/core/pod/storage/eviction.go`. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from kumo.api import conditions
from kumo.api.errors import StatusError, forbidden, too_many_requests
from kumo.api.objects import Object, is_deleting, timestamp

VIOLATES = "Cannot evict pod as it would violate the pod's disruption budget."
SEVERAL = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
_RETRY = 10
_MOST_DISRUPTED = 2000
_UNBUDGETED = ("Succeeded", "Failed", "Pending")


def is_unbudgeted(pod: Object) -> bool:
    """Whether no budget is asked: the pod does not run yet or any more, or is on its way out."""
    return (pod.get("status") or {}).get("phase") in _UNBUDGETED or is_deleting(pod)


def must_stay_as_is(pod: Object) -> bool:
    """Whether an unbudgeted pod may only go as it was seen: it might become healthy just now."""
    return (pod.get("status") or {}).get("phase") == "Pending" and not is_deleting(pod)


def the_one(budgets: Sequence[Object]) -> Object | None:
    """The pod's budget, or None. Raises 500 for several."""
    if len(budgets) > 1:
        raise StatusError(500, "", SEVERAL)
    return budgets[0] if budgets else None


def goes_uncounted(pod: Object, budget: Object) -> bool:
    """Whether the budget lets the pod go without being charged: it is not healthy, and that does no harm."""
    if conditions.is_true(pod, "Ready"):
        return False
    if (budget.get("spec") or {}).get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    status = budget.get("status") or {}
    desired = status.get("desiredHealthy") or 0
    return bool(desired > 0 and (status.get("currentHealthy") or 0) >= desired)


def in_progress(name: str) -> StatusError:
    """429: ask again, the budget is not counted yet."""
    return _refused(f"The disruption budget {name} is still being processed by the server.", _RETRY)


def take(budget: Object, pod: str) -> None:
    """Take one disruption off the budget's status, in place, and note the pod. Raises 403, 429."""
    status, meta = budget.setdefault("status", {}), budget["metadata"]
    name, allowed = meta["name"], status.get("disruptionsAllowed") or 0
    if (status.get("observedGeneration") or 0) < (meta.get("generation") or 0):
        raise in_progress(name)
    if allowed < 0:
        raise forbidden("policy", "poddisruptionbudget", name, "pdb disruptions allowed is negative")
    disrupted = status.get("disruptedPods") or {}
    if len(disrupted) > _MOST_DISRUPTED:
        why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
        raise forbidden("policy", "poddisruptionbudget", name, why)
    if allowed == 0:
        raise _refused(_why_not(name, status))
    status["disruptionsAllowed"] = allowed - 1
    if allowed == 1:
        condition = {
            "type": "DisruptionAllowed",
            "status": "False",
            "reason": "InsufficientPods",
            "message": "",
            "observedGeneration": status.get("observedGeneration") or 0,
        }
        conditions.set_condition(status.setdefault("conditions", []), condition)
    status["disruptedPods"] = {**disrupted, pod: timestamp()}


def _why_not(name: str, status: Object) -> str:
    found = conditions.find(status.get("conditions"), "DisruptionAllowed") or {}
    words = found.get("message") if found.get("status") == "False" else ""
    desired, current = status.get("desiredHealthy") or 0, status.get("currentHealthy") or 0
    if words and found.get("reason") == "SyncFailed":
        return f"The disruption budget {name} does not allow evicting pods currently because it failed sync: {words}"
    if current <= desired:
        return f"The disruption budget {name} needs {desired} healthy pods and has {current} currently"
    if words:
        return f"The disruption budget {name} does not allow evicting pods currently ({found.get('reason')}): {words}"
    return f"The disruption budget {name} does not allow evicting pods currently"


def _refused(cause: str, retry: int = 0) -> StatusError:
    error = too_many_requests(VIOLATES, retry)
    details: Object = {"causes": [{"reason": "DisruptionBudget", "message": cause}]}
    if retry:
        details["retryAfterSeconds"] = retry
    return StatusError(429, error.reason, VIOLATES, details, error.headers if retry else {})
