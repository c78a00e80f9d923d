"""The audit policy: which requests are written down, and how much of them (`audit.k8s.io/v1` Policy). Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.api.users import UserInfo
from kumo.kubernetes.apiserver.attributes import RequestInfo
from kumo.kubernetes.apiserver.audit import AuditError

LEVELS = ("None", "Metadata", "Request", "RequestResponse")
STAGES = ("RequestReceived", "ResponseStarted", "ResponseComplete", "Panic")


@dataclass(frozen=True, slots=True)
class Decision:
    """How a request is audited: `level` is an index into LEVELS, stages in `omit` make no event."""

    level: int
    omit: frozenset[str]
    omit_managed_fields: bool


@dataclass(frozen=True, slots=True)
class _Rule:
    users: frozenset[str]
    groups: frozenset[str]
    verbs: frozenset[str]
    namespaces: frozenset[str]
    resources: tuple[dict[str, Any], ...]
    urls: tuple[str, ...]
    decision: Decision


class Policy:
    """The rules in their order; the first that matches decides, and without one nothing is written down."""

    def __init__(self, document: dict[str, Any]) -> None:
        everywhere = document.get("omitStages") or []
        default = bool(document.get("omitManagedFields"))
        self._rules = [_rule(rule, everywhere, default) for rule in document["rules"]]
        self._otherwise = Decision(0, frozenset(everywhere), default)

    def decide(self, user: UserInfo | None, info: RequestInfo) -> Decision:
        """How the request is audited."""
        for rule in self._rules:
            if _matches(rule, user, info):
                return rule.decision
        return self._otherwise


def _rule(rule: dict[str, Any], everywhere: list[str], default: bool) -> _Rule:
    omit = rule.get("omitManagedFields")
    decision = Decision(
        LEVELS.index(rule["level"]),
        frozenset((*everywhere, *(rule.get("omitStages") or ()))),
        default if omit is None else bool(omit),
    )
    return _Rule(
        frozenset(rule.get("users") or ()),
        frozenset(rule.get("userGroups") or ()),
        frozenset(rule.get("verbs") or ()),
        frozenset(rule.get("namespaces") or ()),
        tuple(rule.get("resources") or ()),
        tuple(rule.get("nonResourceURLs") or ()),
        decision,
    )


def _matches(rule: _Rule, user: UserInfo | None, info: RequestInfo) -> bool:
    if rule.users and (user is None or user.name not in rule.users):
        return False
    if rule.groups and (user is None or rule.groups.isdisjoint(user.groups)):
        return False
    if rule.verbs and info.verb not in rule.verbs:
        return False
    if rule.namespaces or rule.resources:
        if not info.resource or (rule.namespaces and info.namespace not in rule.namespaces):
            return False
        return not rule.resources or any(_is_resource(resource, info) for resource in rule.resources)
    if rule.urls:
        return not info.resource and any(_is_path(url, info.path) for url in rule.urls)
    return True


def _is_resource(wanted: dict[str, Any], info: RequestInfo) -> bool:
    if (wanted.get("group") or "") not in (info.group, "*"):
        return False
    resources = wanted.get("resources") or ()
    if not resources:
        return True
    if wanted.get("resourceNames") and info.name not in wanted["resourceNames"]:
        return False
    full = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    return any(
        name in (full, "*", f"{info.resource}/*") or (bool(info.subresource) and name == f"*/{info.subresource}")
        for name in resources
    )


def _is_path(pattern: str, path: str) -> bool:
    if pattern in ("*", path):
        return True
    return pattern.endswith("*") and path.startswith(pattern.rstrip("*"))


# -- reading the file ------------------------------------------------------------------------------------------------


def load_policy(path: Path) -> Policy:
    """The policy of the file. Raises AuditError."""
    try:
        document = yaml.safe_load(path.read_text())
    except OSError as error:
        raise AuditError(f"the audit policy {path} can't be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise AuditError(f"the audit policy {path} is not YAML: {' '.join(str(error).split())}") from error
    wrong = _wrong_with(document)
    if wrong:
        raise AuditError(f"the audit policy {path} can't be used: {wrong}")
    return Policy(document)


def _wrong_with(document: Any) -> str:
    if not isinstance(document, dict):
        return "it is not an object"
    version, kind = document.get("apiVersion"), document.get("kind")
    if (version, kind) != ("audit.k8s.io/v1", "Policy"):
        return f"it must be of apiVersion audit.k8s.io/v1 and kind Policy, not {version} and {kind}"
    rules = document.get("rules")
    if not isinstance(rules, list) or not rules:
        return "loaded illegal policy with 0 rules"
    shape = _misshapen(document, rules)
    if shape:
        return shape
    found = _stages("omitStages", document.get("omitStages") or ())
    for index, rule in enumerate(rules):
        found += _check_rule(f"rules[{index}]", rule)
    return "; ".join(f"{cause.field}: {cause.message}" for cause in found)


def _misshapen(document: dict[str, Any], rules: list[Any]) -> str:
    """What is not of the type that it must be."""
    lists = ("users", "userGroups", "verbs", "namespaces", "nonResourceURLs", "omitStages")
    for index, rule in enumerate(rules):
        if not isinstance(rule, dict):
            return f"rules[{index}] is not an object"
        for key in lists:
            if not _texts(rule.get(key)):
                return f"rules[{index}].{key} must be a list of strings"
        resources = rule.get("resources") or []
        if not isinstance(resources, list) or not all(isinstance(r, dict) for r in resources):
            return f"rules[{index}].resources must be a list of objects with group and resources"
        for resource in resources:
            if not _texts(resource.get("resources")) or not _texts(resource.get("resourceNames")):
                return f"rules[{index}].resources: resources and resourceNames must be lists of strings"
    return "" if _texts(document.get("omitStages")) else "omitStages must be a list of strings"


def _texts(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(v, str) for v in value))


def _check_rule(here: str, rule: dict[str, Any]) -> list[Cause]:
    found: list[Cause] = []
    level = rule.get("level")
    if not level:
        found.append(fields.required(f"{here}.level"))
    elif level not in LEVELS:
        found.append(fields.unsupported(f"{here}.level", level, LEVELS))
    urls = rule.get("nonResourceURLs") or []
    for index, url in enumerate(urls):
        path = f"{here}.nonResourceURLs[{index}]"
        if url != "*" and not url.startswith("/"):
            found.append(fields.invalid(path, url, "non-resource URL rules must begin with a '/' character"))
        if "*" in url[:-1]:
            detail = "non-resource URL wildcards '*' must be the final character of the rule"
            found.append(fields.invalid(path, url, detail))
    for resource in rule.get("resources") or ():
        group = resource.get("group") or ""
        if group and group != "*":
            found += fields.each(f"{here}.resources.group", group, names.check_subdomain(group))
        if resource.get("resourceNames") and not resource.get("resources"):
            detail = "using resourceNames requires at least one resource"
            found.append(fields.invalid(f"{here}.resources.resourceNames", resource["resourceNames"], detail))
    found += _stages(f"{here}.omitStages", rule.get("omitStages") or ())
    if urls and (rule.get("resources") or rule.get("namespaces")):
        detail = "rules cannot apply to both regular resources and non-resource URLs"
        found.append(fields.invalid(f"{here}.nonResourceURLs", urls, detail))
    return found


def _stages(here: str, stages: Iterable[str]) -> list[Cause]:
    detail = f"allowed stages are {','.join(STAGES)}"
    return [fields.invalid(f"{here}[{i}]", s, detail) for i, s in enumerate(stages) if s not in STAGES]
