"""FlowSchemas and PriorityLevelConfigurations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.api.objects import Object, annotations_of, name_of
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.flowcontrol.defaults import GROUP, mandatory_spec
from kumo.kubernetes.apiserver.flowcontrol.shards import MAX_HASH_BITS, entropy_bits
from kumo.kubernetes.apiserver.kinds.checks import set_default, spec_of
from kumo.kubernetes.apiserver.kinds.rules import Rules, at

_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch")
_KINDS = {"User": "user", "Group": "group", "ServiceAccount": "serviceAccount"}
_ROUND_TRIP = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares"
_MOST_QUEUES = 10_000_000
_NAMESPACE = "each member of this list must be '*' or a DNS-1123 label; "


def _default_schema(obj: Object) -> None:
    if not spec_of(obj).get("matchingPrecedence"):
        spec_of(obj)["matchingPrecedence"] = 1000


def _default_level(obj: Object) -> None:
    spec = spec_of(obj)
    exempt, limited = spec.get("exempt"), spec.get("limited")
    if exempt is not None:
        set_default(exempt, nominalConcurrencyShares=0, lendablePercent=0)
    if limited is not None:
        set_default(limited, nominalConcurrencyShares=30, lendablePercent=0)
        queuing = at(limited, "limitResponse.queuing")
        if queuing is not None:
            for key, value in (("queues", 64), ("handSize", 8), ("queueLengthLimit", 50)):
                queuing[key] = queuing.get(key) or value


# -- flow schemas ----------------------------------------------------------------------------------------------------


def _validate_schema(obj: Object) -> list[Cause]:
    spec, name = obj.get("spec") or {}, name_of(obj)
    precedence = spec.get("matchingPrecedence") or 0
    found: list[Cause] = []
    here = "spec.matchingPrecedence"
    if precedence <= 0:
        found.append(fields.invalid(here, precedence, "must be a positive value"))
    if precedence > 10000:
        found.append(fields.invalid(here, precedence, "must not be greater than 10000"))
    if precedence == 1 and name != "exempt":
        found.append(fields.invalid(here, precedence, "only the schema named 'exempt' may have matchingPrecedence 1"))
    method = spec.get("distinguisherMethod")
    if method is not None and method.get("type") not in ("ByNamespace", "ByUser"):
        shown = {"Type": method.get("type") or ""}
        found.append(fields.unsupported("spec.distinguisherMethod.type", shown, ("ByNamespace", "ByUser")))
    level = at(spec, "priorityLevelConfiguration.name") or ""
    here = "spec.priorityLevelConfiguration.name"
    if level:
        found += fields.each(here, level, names.check_subdomain(level))
    else:
        found.append(fields.required(here, "must reference a priority level"))
    for index, rule in enumerate(spec.get("rules") or ()):
        found += _rule(f"spec.rules[{index}]", rule)
    return found + _fixed(obj, "FlowSchema")


def _rule(here: str, rule: dict[str, Any]) -> list[Cause]:
    found: list[Cause] = []
    subjects = rule.get("subjects") or []
    for index, subject in enumerate(subjects):
        found += _subject(f"{here}.subjects[{index}]", subject)
    if not subjects:
        found.append(fields.required(f"{here}.subjects", "subjects must contain at least one value"))
    resources, paths = rule.get("resourceRules") or [], rule.get("nonResourceRules") or []
    if not resources and not paths:
        found.append(fields.required(here, "at least one of resourceRules and nonResourceRules has to be non-empty"))
    for index, resource in enumerate(resources):
        found += _resource_rule(f"{here}.resourceRules[{index}]", resource)
    for index, path in enumerate(paths):
        found += _path_rule(f"{here}.nonResourceRules[{index}]", path)
    return found


def _subject(here: str, subject: dict[str, Any]) -> list[Cause]:
    kind = subject.get("kind") or ""
    if kind not in _KINDS:
        return [fields.unsupported(f"{here}.kind", kind, ("Group", "ServiceAccount", "User"))]
    own = _KINDS[kind]
    value = subject.get(own)
    found: list[Cause] = []
    if value is None:
        found.append(fields.required(f"{here}.{own}", f"{own} is required when subject kind is '{kind}'"))
    else:
        found += _subject_name(f"{here}.{own}", kind, value)
    for other_kind, other in (("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group")):
        if other != own and subject.get(other) is not None:
            found.append(
                fields.forbidden(f"{here}.{other}", f"{other} is forbidden when subject kind is not '{other_kind}'")
            )
    return found


def _subject_name(here: str, kind: str, value: dict[str, Any]) -> list[Cause]:
    name, found = value.get("name") or "", []
    if not name:
        found.append(fields.required(f"{here}.name"))
    if kind != "ServiceAccount":
        return found
    if name and name != "*":
        found += fields.each(f"{here}.name", name, names.check_subdomain(name))
    namespace = value.get("namespace") or ""
    if namespace:
        found += fields.each(f"{here}.namespace", namespace, names.check_label(namespace))
    else:
        found.append(fields.required(f"{here}.namespace", "must specify namespace for service account"))
    return found


def _alone(path: str, values: Sequence[str], empty: str, what: str) -> list[Cause]:
    """Not empty, and an asterisk stands alone."""
    if not values:
        return [fields.required(path, empty)]
    if "*" in values and len(values) > 1:
        return [fields.invalid(path, list(values), f"if '*' is present, must not specify other {what}")]
    return []


def _verbs(here: str, verbs: Sequence[str]) -> list[Cause]:
    found = _alone(f"{here}.verbs", verbs, "verbs must contain at least one value", "verbs")
    if verbs and "*" not in verbs and not set(verbs) <= set(_VERBS):
        found.append(fields.unsupported(f"{here}.verbs", list(verbs), _VERBS))
    return found


def _resource_rule(here: str, rule: dict[str, Any]) -> list[Cause]:
    found = _verbs(here, rule.get("verbs") or ())
    found += _alone(
        f"{here}.apiGroups",
        rule.get("apiGroups") or (),
        "resource rules must supply at least one api group",
        "api groups",
    )
    found += _alone(
        f"{here}.resources",
        rule.get("resources") or (),
        "resource rules must supply at least one resource",
        "resources",
    )
    namespaces, path = rule.get("namespaces") or [], f"{here}.namespaces"
    if not namespaces and not rule.get("clusterScope"):
        found.append(
            fields.required(path, "resource rules that are not cluster scoped must supply at least one namespace")
        )
    elif "*" in namespaces:
        found += _alone(path, namespaces, "", "namespaces")
    else:
        for index, name in enumerate(namespaces):
            found += fields.each(f"{path}[{index}]", name, [_NAMESPACE + text for text in names.check_label(name)])
    return found


def _path_rule(here: str, rule: dict[str, Any]) -> list[Cause]:
    found = _verbs(here, rule.get("verbs") or ())
    urls, path = rule.get("nonResourceURLs") or [], f"{here}.nonResourceURLs"
    found += _alone(path, urls, "nonResourceURLs must contain at least one value", "non-resource URLs")
    if "*" not in urls:
        for index, url in enumerate(urls):
            wrong = _url(url)
            if wrong:
                found.append(fields.invalid(f"{path}[{index}]", url, wrong))
    return found


def _url(url: str) -> str:
    if not url:
        return "must not be empty"
    if url == "/":
        return ""
    if not url.startswith("/"):
        return "must start with slash"
    if " " in url:
        return "must not contain white-space"
    if "//" in url:
        return "must not contain double slash"
    stars = url.count("*")
    return "wildcard can only do suffix matching" if stars > 1 or (stars and not url.endswith("/*")) else ""


# -- priority levels -------------------------------------------------------------------------------------------------


def _validate_level(obj: Object) -> list[Cause]:
    spec, found = obj.get("spec") or {}, []
    if _ROUND_TRIP in annotations_of(obj):
        found.append(fields.forbidden("metadata.annotations", f"annotation '{_ROUND_TRIP}' is forbidden"))
    kind = spec.get("type") or ""
    limited, exempt = spec.get("limited"), spec.get("exempt")
    if (name_of(obj) == "exempt") != (kind == "Exempt"):
        detail = "must be 'Exempt' if and only if `name` is 'exempt'"
        found.append(fields.invalid("spec.type", kind, detail))
    if kind == "Exempt":
        if limited is not None:
            found.append(fields.forbidden("spec.limited", "must be nil if the type is not Limited"))
        if exempt is not None:
            found += _shares("spec.exempt", exempt)
    elif kind == "Limited":
        if exempt is not None:
            found.append(fields.forbidden("spec.exempt", "must be nil if the type is Limited"))
        if limited is None:
            found.append(fields.required("spec.limited", "must not be empty when type is Limited"))
        else:
            found += _limited(limited)
    else:
        found.append(fields.unsupported("spec.type", kind, ("Exempt", "Limited")))
    return found + _fixed(obj, "PriorityLevelConfiguration")


def _shares(here: str, part: dict[str, Any]) -> list[Cause]:
    found = []
    shares, lendable = part.get("nominalConcurrencyShares") or 0, part.get("lendablePercent") or 0
    if shares < 0:
        found.append(fields.invalid(f"{here}.nominalConcurrencyShares", shares, "must be a non-negative integer"))
    return found + (
        []
        if 0 <= lendable <= 100
        else [fields.invalid(f"{here}.lendablePercent", lendable, "must be between 0 and 100, inclusive")]
    )


def _limited(limited: dict[str, Any]) -> list[Cause]:
    here = "spec.limited"
    both = _shares(here, limited)
    found = [c for c in both if "Shares" in c.field]
    response = limited.get("limitResponse") or {}
    kind, queuing = response.get("type") or "", response.get("queuing")
    if kind == "Reject":
        if queuing is not None:
            detail = "must be nil if limited.limitResponse.type is not Limited"
            found.append(fields.forbidden(f"{here}.limitResponse.queuing", detail))
    elif kind == "Queue":
        if queuing is None:
            detail = "must not be empty if limited.limitResponse.type is Limited"
            found.append(fields.required(f"{here}.limitResponse.queuing", detail))
        else:
            found += _queuing(f"{here}.limitResponse.queuing", queuing)
    else:
        found.append(fields.unsupported(f"{here}.limitResponse.type", kind, ("Queue", "Reject")))
    found += [c for c in both if "Shares" not in c.field]
    borrowing = limited.get("borrowingLimitPercent")
    if borrowing is not None and borrowing < 0:
        detail = "if specified, must be a non-negative integer"
        found.append(fields.invalid(f"{here}.borrowingLimitPercent", borrowing, detail))
    return found


def _queuing(here: str, queuing: dict[str, Any]) -> list[Cause]:
    limit, queues, hand = (queuing.get(key) or 0 for key in ("queueLengthLimit", "queues", "handSize"))
    found = []
    if limit <= 0:
        found.append(fields.invalid(f"{here}.queueLengthLimit", limit, "must be positive"))
    if queues <= 0:
        found.append(fields.invalid(f"{here}.queues", queues, "must be positive"))
    elif queues > _MOST_QUEUES:
        found.append(fields.invalid(f"{here}.queues", queues, f"must not be greater than {_MOST_QUEUES}"))
    if hand <= 0:
        found.append(fields.invalid(f"{here}.handSize", hand, "must be positive"))
    elif hand > queues:
        found.append(fields.invalid(f"{here}.handSize", hand, f"should not be greater than queues ({queues})"))
    elif entropy_bits(queues, hand) > MAX_HASH_BITS:
        detail = (
            f"required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {MAX_HASH_BITS}"
        )
        found.append(fields.invalid(f"{here}.handSize", hand, detail))
    return found


# -- both ------------------------------------------------------------------------------------------------------------


def _fixed(obj: Object, kind: str) -> list[Cause]:
    """The mandatory objects say what they must."""
    name, spec = name_of(obj), obj.get("spec") or {}
    must = mandatory_spec(kind, name)
    if must is None:
        return []
    if kind != "FlowSchema" and name == "exempt":
        if {**spec, "exempt": None} == {**must, "exempt": None}:
            return []
        detail = f"spec of '{name}' except the 'spec.exempt' field must equal the fixed value"
    elif spec == must:
        return []
    else:
        detail = f"spec of '{name}' must equal the fixed value"
    return [fields.invalid("spec", spec, detail)]


def _validate_status(new: Object, old: Object) -> list[Cause]:
    found, seen = [], set()
    for index, condition in enumerate((new.get("status") or {}).get("conditions") or ()):
        kind, here = condition.get("type") or "", f"status.conditions[{index}].type"
        if kind in seen:
            found.append(fields.duplicate(here, kind))
        seen.add(kind)
        if not kind:
            found.append(fields.required(here))
    return found


def rules() -> dict[GVK, Rules]:
    """The rules of the kinds in this module."""
    return {
        GVK(GROUP, "v1", "FlowSchema"): Rules(
            default=_default_schema,
            validate=_validate_schema,
            validate_status=_validate_status,
            has_status=True,
            has_generation=True,
            revalidates="only",
            status_keeps_metadata="whole",
        ),
        GVK(GROUP, "v1", "PriorityLevelConfiguration"): Rules(
            default=_default_level,
            validate=_validate_level,
            validate_status=_validate_status,
            has_status=True,
            has_generation=True,
            revalidates="only",
            status_keeps_metadata="whole",
        ),
    }
