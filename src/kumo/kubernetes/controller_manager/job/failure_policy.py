"""What a job's `podFailurePolicy` says of a failed pod (batch/v1). Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from kumo.api.objects import Object, name_of, namespace_of


class Match(NamedTuple):
    """The outcome of the first rule that matches.

    `action` is the rule's, empty without one; `counted` whether the failure counts towards the limits; `message` says
    why the whole job fails, if it does.
    """

    action: str = ""
    counted: bool = True
    message: str = ""


def match(policy: dict[str, Any] | None, pod: Object) -> Match:
    """Judge the pod; a rule of an unknown action is passed over."""
    for number, rule in enumerate((policy or {}).get("rules") or ()):
        action = rule.get("action")
        reason = _reason(rule, pod)
        if not reason or action not in ("Ignore", "FailIndex", "Count", "FailJob"):
            continue
        fatal = f"{reason} matching {action} rule at index {number}" if action == "FailJob" else ""
        return Match(action, action != "Ignore", fatal)
    return Match()


def _reason(rule: dict[str, Any], pod: Object) -> str:
    """What of the pod matches the rule, in words; empty if nothing does."""
    status = pod.get("status") or {}
    where = f"{namespace_of(pod)}/{name_of(pod)}"
    if rule.get("onExitCodes") is not None:
        for kind in ("containerStatuses", "initContainerStatuses"):
            found = _exited(status.get(kind) or (), rule["onExitCodes"])
            if found is not None:
                code = found["state"]["terminated"].get("exitCode", 0)
                return f"Container {found.get('name')} for pod {where} failed with exit code {code}"
        return ""
    wanted = [(p.get("type"), p.get("status", "True")) for p in rule.get("onPodConditions") or ()]
    for condition in status.get("conditions") or ():
        if (condition.get("type"), condition.get("status")) in wanted:
            return f"Pod {where} has condition {condition.get('type')}"
    return ""


def _exited(statuses: Iterable[dict[str, Any]], wanted: dict[str, Any]) -> dict[str, Any] | None:
    name, values = wanted.get("containerName"), wanted.get("values") or ()
    for status in statuses:
        ended = (status.get("state") or {}).get("terminated")
        code = int((ended or {}).get("exitCode") or 0)
        if ended is None or code == 0 or name not in (None, status.get("name")):
            continue
        if wanted.get("operator") in ("In", "NotIn") and (code in values) == (wanted["operator"] == "In"):
            return status
    return None
