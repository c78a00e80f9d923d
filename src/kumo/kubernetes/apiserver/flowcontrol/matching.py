"""Which flow a request belongs to: the rules of flow schemas. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from kumo.api.objects import Object
from kumo.api.users import UserInfo
from kumo.kubernetes.apiserver.attributes import RequestInfo

_ACCOUNT = "system:serviceaccount:"


def matches(schema: Object, user: UserInfo, info: RequestInfo) -> bool:
    """Whether a rule of the FlowSchema is about the user's request."""
    return any(
        any(_is_subject(subject, user) for subject in rule.get("subjects") or ()) and _is_about(rule, info)
        for rule in schema["spec"].get("rules") or ()
    )


def names_namespaces(schema: Object) -> bool:
    """Whether the schema tells namespaces apart, beyond whether there is one."""
    return any(
        (resource.get("namespaces") or ["*"]) != ["*"]
        for rule in schema["spec"].get("rules") or ()
        for resource in rule.get("resourceRules") or ()
    )


def _is_subject(subject: dict[str, Any], user: UserInfo) -> bool:
    kind = subject.get("kind")
    if kind == "User":
        return (subject.get("user") or {}).get("name") in ("*", user.name)
    if kind == "Group":
        name = (subject.get("group") or {}).get("name")
        return name == "*" or name in user.groups
    account = subject.get("serviceAccount") or {}
    if kind != "ServiceAccount" or not user.name.startswith(_ACCOUNT):
        return False
    namespace, _, name = user.name.removeprefix(_ACCOUNT).partition(":")
    return bool(namespace == account.get("namespace") and account.get("name") in ("*", name))


def _is_about(rule: dict[str, Any], info: RequestInfo) -> bool:
    if info.resource:
        return any(_is_resource(resource, info) for resource in rule.get("resourceRules") or ())
    return any(_is_path(path, info) for path in rule.get("nonResourceRules") or ())


def _is_resource(rule: dict[str, Any], info: RequestInfo) -> bool:
    resource = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    return (
        _has(rule.get("verbs"), info.verb)
        and _has(rule.get("resources"), resource)
        and _has(rule.get("apiGroups"), info.group)
        and (_has(rule.get("namespaces"), info.namespace) if info.namespace else bool(rule.get("clusterScope")))
    )


def _is_path(rule: dict[str, Any], info: RequestInfo) -> bool:
    if not _has(rule.get("verbs"), info.verb):
        return False
    for path in rule.get("nonResourceURLs") or ():
        if path in ("*", info.path) or info.path.startswith(f"{path.removesuffix('*').rstrip('/')}/"):
            return True
    return False


def _has(values: Collection[str] | None, wanted: str) -> bool:
    return bool(values) and (wanted in values or (len(values) == 1 and "*" in values))  # type: ignore[operator,arg-type]
