"""What happens to a container that ended, and when its resources are changed."""

from __future__ import annotations

from typing import Any

from kumo.api import fields
from kumo.api.errors import Cause

_POLICIES = ("Always", "Never", "OnFailure")
_ACTIONS = ("Restart", "RestartAllContainers")
_OPERATORS = ("In", "NotIn")
_RESIZABLE = ("cpu", "memory")
_RESTARTS = ("NotRequired", "RestartContainer")


def validate_restart_rules(path: str, container: dict[str, Any], found: list[Cause]) -> None:
    """A container's own restart policy and rules."""
    policy, rules = container.get("restartPolicy"), container.get("restartPolicyRules") or ()
    if policy is None:
        if not rules:
            return
        found.append(fields.required(f"{path}.restartPolicy", "must specify restartPolicy when restart rules are used"))
        if ".initContainers[" in path:
            return
    elif policy not in _POLICIES:
        found.append(fields.unsupported(f"{path}.restartPolicy", policy, _POLICIES))
    if len(rules) > 20:
        found.append(fields.too_many(f"{path}.restartPolicyRules", len(rules), 20))
    for index, rule in enumerate(rules):
        here, action, codes = f"{path}.restartPolicyRules[{index}]", rule.get("action") or "", rule.get("exitCodes")
        if action not in _ACTIONS:
            found.append(fields.unsupported(f"{here}.action", action, _ACTIONS))
        if codes is None:
            found.append(fields.required(f"{here}.exitCodes", "must be specified"))
            continue
        operator, values = codes.get("operator") or "", codes.get("values") or ()
        if operator not in _OPERATORS:
            found.append(fields.unsupported(f"{here}.exitCodes.operator", operator, _OPERATORS))
        if len(values) > 255:
            found.append(fields.too_many(f"{here}.exitCodes.values", len(values), 255))


def validate_resize_policy(path: str, policies: Any, pod_policy: str, found: list[Cause]) -> None:
    """Whether a container restarts when its cpu or memory changes; `pod_policy` is the pod's restart policy."""
    seen: set[str] = set()
    for index, item in enumerate(policies):
        resource, restart = item.get("resourceName") or "", item.get("restartPolicy") or ""
        if resource in seen:
            found.append(fields.duplicate(f"{path}[{index}]", resource))
        seen.add(resource)
        for value, allowed in ((resource, _RESIZABLE), (restart, _RESTARTS)):
            if not value:
                found.append(fields.required(path))
            elif value not in allowed:
                found.append(fields.unsupported(path, value, allowed))
        if pod_policy == "Never" and restart != "NotRequired":
            detail = "must be 'NotRequired' when pod `restartPolicy` is 'Never'"
            found.append(fields.invalid(path, restart, detail))
