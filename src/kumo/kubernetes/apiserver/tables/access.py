"""Columns of role bindings, certificates, API services, webhooks, admission policies, flow control and devices."""

from __future__ import annotations

from typing import Any

from kumo.api.conditions import condition
from kumo.api.objects import Object
from kumo.kubernetes.apiserver.tables.cells import NONE, UNSET, age, name, number, part, text
from kumo.kubernetes.apiserver.tables.columns import Columns, columns
from kumo.kubernetes.apiserver.tables.duration import human_duration


def _binding(obj: Object, now: float) -> list[Any]:
    reference, subjects = obj.get("roleRef") or {}, obj.get("subjects") or ()

    def of(kind: str) -> str:
        found = [s for s in subjects if s.get("kind") == kind]
        if kind == "ServiceAccount":
            return ", ".join(f"{s.get('namespace')}/{s.get('name')}" for s in found)
        return ", ".join(str(s.get("name")) for s in found)

    role = f"{reference.get('kind')}/{reference.get('name')}"
    return [name(obj), role, age(obj, now), of("User"), of("Group"), of("ServiceAccount")]


def _signing_request(obj: Object, now: float) -> list[Any]:
    conditions = {c.get("type") for c in part(obj, "status", "conditions") or ()}
    if "Denied" in conditions:
        status = "Denied"
    else:
        status = "Approved" if "Approved" in conditions else "Pending"
    if "Failed" in conditions:
        status += ",Failed"
    if part(obj, "status", "certificate"):
        status += ",Issued"
    seconds = part(obj, "spec", "expirationSeconds")
    return [
        name(obj),
        age(obj, now),
        text(obj, "spec", "signerName", missing=NONE),
        text(obj, "spec", "username"),
        human_duration(seconds) if seconds else NONE,
        status,
    ]


def _api_service(obj: Object, now: float) -> list[Any]:
    service = part(obj, "spec", "service")
    shown = f"{service.get('namespace')}/{service.get('name')}" if service else "Local"
    available = condition(obj, "Available") or {}
    status = available.get("status") or UNSET
    if status == "False" and available.get("reason"):
        status = f"False ({available['reason']})"
    return [name(obj), shown, status, age(obj, now)]


def _webhooks(obj: Object, now: float) -> list[Any]:
    return [name(obj), len(obj.get("webhooks") or ()), age(obj, now)]


def _param_kind(obj: Object) -> str:
    kind = part(obj, "spec", "paramKind")
    return f"{kind.get('apiVersion')}/{kind.get('kind')}" if kind else UNSET


def _validating_policy(obj: Object, now: float) -> list[Any]:
    return [name(obj), len(part(obj, "spec", "validations") or ()), _param_kind(obj), age(obj, now)]


def _mutating_policy(obj: Object, now: float) -> list[Any]:
    return [name(obj), len(part(obj, "spec", "mutations") or ()), _param_kind(obj), age(obj, now)]


def _parameters(reference: Object) -> str:
    """The parameters that a binding names, or how it chooses them (as Go prints a selector)."""
    if reference.get("name"):
        return f"{reference.get('namespace') or '*'}/{reference['name']}"
    selector = reference.get("selector")
    if selector is None:
        return UNSET
    pairs = "".join(f"{k}: {v}," for k, v in sorted((selector.get("matchLabels") or {}).items()))
    items = "".join(
        f"LabelSelectorRequirement{{Key:{i.get('key') or ''},Operator:{i.get('operator') or ''},"
        f"Values:[{' '.join(i.get('values') or ())}],}},"
        for i in selector.get("matchExpressions") or ()
    )
    return (
        f"&LabelSelector{{MatchLabels:map[string]string{{{pairs}}},"
        f"MatchExpressions:[]LabelSelectorRequirement{{{items}}},}}"
    )


def _policy_binding(obj: Object, now: float) -> list[Any]:
    reference = part(obj, "spec", "paramRef")
    shown = UNSET
    if reference:
        shown = _parameters(reference)
    return [name(obj), text(obj, "spec", "policyName"), shown, age(obj, now)]


def _flow_schema(obj: Object, now: float) -> list[Any]:
    dangling = condition(obj, "Dangling") or {}
    return [
        name(obj),
        text(obj, "spec", "priorityLevelConfiguration", "name"),
        number(obj, "spec", "matchingPrecedence"),
        text(obj, "spec", "distinguisherMethod", "type", missing=NONE),
        age(obj, now),
        dangling.get("status") or "?",
    ]


def _precedence(obj: Object) -> tuple[int, str]:
    return (number(obj, "spec", "matchingPrecedence"), name(obj))


def _priority_level(obj: Object, now: float) -> list[Any]:
    limited = part(obj, "spec", "limited") or {}
    queuing = part(limited, "limitResponse", "queuing") or {}
    shares = limited.get("nominalConcurrencyShares")
    return [
        name(obj),
        text(obj, "spec", "type"),
        NONE if shares is None else shares,
        *(queuing.get(k, NONE) for k in ("queues", "handSize", "queueLengthLimit")),
        age(obj, now),
    ]


def _claim(obj: Object, now: float) -> list[Any]:
    states = ["deleted"] if part(obj, "metadata", "deletionTimestamp") else []
    allocated = part(obj, "status", "allocation") is not None
    states.append("allocated" if allocated else "pending")
    if part(obj, "status", "reservedFor"):
        states.append("reserved")
    return [name(obj), ",".join(states), age(obj, now)]


def _slice(obj: Object, now: float) -> list[Any]:
    node = text(obj, "spec", "nodeName")
    return [name(obj), node, text(obj, "spec", "driver"), text(obj, "spec", "pool", "name"), age(obj, now)]


def _named(obj: Object, now: float) -> list[Any]:
    return [name(obj), age(obj, now)]


def tables() -> dict[str, Columns]:
    """The columns by resource and group."""
    rbac, admission = ".rbac.authorization.k8s.io", ".admissionregistration.k8s.io"
    flow, devices = ".flowcontrol.apiserver.k8s.io", ".resource.k8s.io"
    binding = columns("Name|Role|Age|+Users|+Groups|+ServiceAccounts", _binding)
    webhooks = columns("Name|#Webhooks|Age", _webhooks)
    policy_binding = columns("Name|PolicyName|ParamRef|Age", _policy_binding)
    return {
        "rolebindings" + rbac: binding,
        "clusterrolebindings" + rbac: binding,
        "certificatesigningrequests.certificates.k8s.io": columns(
            "Name|Age|SignerName|Requestor|RequestedDuration|Condition", _signing_request
        ),
        "apiservices.apiregistration.k8s.io": columns("Name|Service|Available|Age", _api_service),
        "mutatingwebhookconfigurations" + admission: webhooks,
        "validatingwebhookconfigurations" + admission: webhooks,
        "validatingadmissionpolicies" + admission: columns("Name|#Validations|ParamKind|Age", _validating_policy),
        "mutatingadmissionpolicies" + admission: columns("Name|#Mutations|ParamKind|Age", _mutating_policy),
        "validatingadmissionpolicybindings" + admission: policy_binding,
        "mutatingadmissionpolicybindings" + admission: policy_binding,
        "flowschemas" + flow: columns(
            "Name|PriorityLevel|MatchingPrecedence|DistinguisherMethod|Age|MissingPL", _flow_schema, order=_precedence
        ),
        "prioritylevelconfigurations" + flow: columns(
            "Name|Type|NominalConcurrencyShares|Queues|HandSize|QueueLengthLimit|Age", _priority_level
        ),
        "resourceclaims" + devices: columns("Name|State|Age", _claim),
        "resourceclaimtemplates" + devices: columns("Name|Age", _named),
        "deviceclasses" + devices: columns("Name|Age", _named),
        "resourceslices" + devices: columns("Name|Node|Driver|Pool|Age", _slice),
    }
