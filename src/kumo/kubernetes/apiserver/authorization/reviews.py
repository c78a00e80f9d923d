"""Questions about rights, as API objects: the reviews of authorization.k8s.io/v1 (`kubectl auth can-i`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kumo.api.errors import Cause, bad_request, invalid
from kumo.api.objects import Object, timestamp
from kumo.api.users import UserInfo
from kumo.kubernetes.apiserver.attributes import RequestInfo
from kumo.kubernetes.apiserver.authorization.authorizer import Authorizer

_VERSION = "authorization.k8s.io/v1"


class AccessReviews:
    """Answers the four reviews. Each method takes the decoded review and gives it back with its status."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def subject(self, body: Object) -> Object:
        """POST `subjectaccessreviews`: may that user?"""
        spec = body.get("spec") or {}
        return self._reviewed("SubjectAccessReview", body, _user_of(spec), spec)

    def local_subject(self, namespace: str, body: Object) -> Object:
        """POST `namespaces/{namespace}/localsubjectaccessreviews`: may that user, in this namespace?"""
        spec = body.get("spec") or {}
        asked = (spec.get("resourceAttributes") or {}).get("namespace") or ""
        if asked != namespace:
            kind = "LocalSubjectAccessReview"
            why = f'Invalid value: "{asked}": must match metadata.namespace'
            raise invalid("authorization.k8s.io", kind, "", [Cause("spec.resourceAttributes.namespace", why)])
        return self._reviewed("LocalSubjectAccessReview", body, _user_of(spec), spec)

    def self_subject(self, user: UserInfo, body: Object) -> Object:
        """POST `selfsubjectaccessreviews`: may I?"""
        return self._reviewed("SelfSubjectAccessReview", body, user, body.get("spec") or {})

    def self_rules(self, user: UserInfo, body: Object) -> Object:
        """POST `selfsubjectrulesreviews`: what may I in a namespace (`kubectl auth can-i --list`)?"""
        namespace = (body.get("spec") or {}).get("namespace") or ""
        if not namespace:
            raise bad_request("no namespace on request")
        rules, errors = self._authorizer.rules(user, namespace)
        if "system:masters" in user.groups:
            resource: list[Object] = [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]
            urls: list[Object] = [{"verbs": ["*"], "nonResourceURLs": ["*"]}]
        else:
            resource, urls = [], []
        for rule in rules:
            verbs = sorted(rule.verbs)
            if rule.urls:
                urls.append({"verbs": verbs, "nonResourceURLs": list(rule.urls)})
            if rule.resources:
                entry: Object = {
                    "verbs": verbs,
                    "apiGroups": sorted(rule.groups),
                    "resources": sorted(rule.resources),
                }
                if rule.names:
                    entry["resourceNames"] = sorted(rule.names)
                resource.append(entry)
        status: Object = {"resourceRules": resource, "nonResourceRules": urls, "incomplete": bool(errors)}
        if errors:
            status["evaluationError"] = ", ".join(errors)
        return _answer("SelfSubjectRulesReview", body, status)

    def _reviewed(self, kind: str, body: Object, user: UserInfo, spec: Mapping[str, Any]) -> Object:
        info = _info_of(kind, spec)
        decision = self._authorizer.authorize(user, info)
        status: Object = {"allowed": decision.allowed}
        if decision.reason:
            status["reason"] = decision.reason
        return _answer(kind, body, status)


def _answer(kind: str, body: Object, status: Object) -> Object:
    meta = {**(body.get("metadata") or {}), "creationTimestamp": timestamp()}
    return {"kind": kind, "apiVersion": _VERSION, "metadata": meta, "spec": body.get("spec") or {}, "status": status}


def _user_of(spec: Mapping[str, Any]) -> UserInfo:
    name, groups = spec.get("user") or "", tuple(spec.get("groups") or ())
    if not name and not groups:
        why = "Invalid value: null: at least one of user or group must be specified"
        raise invalid("authorization.k8s.io", "SubjectAccessReview", "", [Cause("spec.user", why)])
    extra = {k: tuple(v) for k, v in (spec.get("extra") or {}).items()}
    return UserInfo(name, groups, spec.get("uid") or "", extra)


def _info_of(kind: str, spec: Mapping[str, Any]) -> RequestInfo:
    resource, other = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if (resource is None) == (other is None):
        if resource is None:
            why = "Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified"
        else:
            why = "Invalid value: null: cannot be specified in combination with resourceAttributes"
        field = "spec.resourceAttributes" if resource is None else "spec.nonResourceAttributes"
        raise invalid("authorization.k8s.io", kind, "", [Cause(field, why)])
    if other is not None:
        return RequestInfo(verb=other.get("verb") or "", path=other.get("path") or "")
    assert resource is not None
    return RequestInfo(
        verb=resource.get("verb") or "",
        path="",
        group=resource.get("group") or "",
        version=resource.get("version") or "",
        namespace=resource.get("namespace") or "",
        resource=resource.get("resource") or "",
        subresource=resource.get("subresource") or "",
        name=resource.get("name") or "",
    )
