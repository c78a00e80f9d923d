"""Questions about rights, as API objects: the reviews of authorization.k8s.io/v1 (`kubectl auth can-i`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kumo.api.errors import Cause, bad_request, invalid
from kumo.api.objects import Object, timestamp
from kumo.api.selectors import parse_field_selector, parse_label_selector
from kumo.api.users import UserInfo
from kumo.kubernetes.apiserver.attributes import RequestInfo
from kumo.kubernetes.apiserver.authorization.authorizer import Authorizer
from kumo.kubernetes.apiserver.authorization.nodes import node_of
from kumo.kubernetes.apiserver.authorization.review_validation import local_faults, metadata_faults, spec_faults
from kumo.kubernetes.apiserver.kinds.selector_validation import validate_requirement

_GROUP = "authorization.k8s.io"
_IGNORED = "spec.resourceAttributes.{} ignored due to parse error"
_Requirements = tuple[tuple[str, str, str], ...]


class AccessReviews:
    """Answers the four reviews. Each method takes the decoded review and gives it back with its status.

    Raises 422 for a question that is none.
    """

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def subject(self, body: Object) -> Object:
        """POST `subjectaccessreviews`: may that user?"""
        spec = body.get("spec") or {}
        faults = spec_faults(spec, about_user=True) + metadata_faults(body.get("metadata") or {}, namespaced=False)
        return self._reviewed("SubjectAccessReview", body, _user_of(spec), faults)

    def local_subject(self, namespace: str, body: Object) -> Object:
        """POST `namespaces/{namespace}/localsubjectaccessreviews`: may that user, in this namespace?"""
        spec, meta = body.get("spec") or {}, body.get("metadata") or {}
        faults = spec_faults(spec, about_user=True) + metadata_faults(meta, namespaced=True)
        faults += local_faults(namespace, spec)
        return self._reviewed("LocalSubjectAccessReview", body, _user_of(spec), faults)

    def self_subject(self, user: UserInfo, body: Object) -> Object:
        """POST `selfsubjectaccessreviews`: may I?"""
        faults = spec_faults(body.get("spec") or {}, about_user=False)
        faults += metadata_faults(body.get("metadata") or {}, namespaced=False)
        return self._reviewed("SelfSubjectAccessReview", body, user, faults)

    def self_rules(self, user: UserInfo, body: Object) -> Object:
        """POST `selfsubjectrulesreviews`: what may I in a namespace (`kubectl auth can-i --list`)?"""
        namespace = (body.get("spec") or {}).get("namespace") or ""
        if not namespace:
            raise bad_request("no namespace on request")
        rules, errors = self._authorizer.rules(user, namespace)
        resource: list[Object] = []
        urls: list[Object] = []
        for rule in rules:
            verbs = list(rule.verbs)
            if rule.urls:
                urls.append({"verbs": verbs, "nonResourceURLs": list(rule.urls)})
            if rule.resources:
                entry: Object = {"verbs": verbs, "apiGroups": list(rule.groups), "resources": list(rule.resources)}
                if rule.names:
                    entry["resourceNames"] = list(rule.names)
                resource.append(entry)
        is_node = node_of(user) is not None
        if is_node:
            # What a node may depends on what runs there: it cannot be told beforehand.
            errors = ["node authorizer does not support user rule resolution", *errors]
        status: Object = {"resourceRules": resource, "nonResourceRules": urls, "incomplete": is_node}
        if errors:
            status["evaluationError"] = errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]"
        return _answer("SelfSubjectRulesReview", body, status)

    def _reviewed(self, kind: str, body: Object, user: UserInfo, faults: list[Cause]) -> Object:
        if faults:
            raise invalid(_GROUP, "", "", faults)
        info, errors = _info_of(body["spec"])
        decision = self._authorizer.authorize(user, info)
        status: Object = {"allowed": decision.allowed}
        if decision.reason:
            status["reason"] = decision.reason
        if errors:
            status["evaluationError"] = "; ".join(errors)
        return _answer(kind, body, status)


def _answer(kind: str, body: Object, status: Object) -> Object:
    meta = {**(body.get("metadata") or {}), "creationTimestamp": timestamp()}
    spec = body.get("spec") or {}
    return {"kind": kind, "apiVersion": f"{_GROUP}/v1", "metadata": meta, "spec": spec, "status": status}


def _user_of(spec: Mapping[str, Any]) -> UserInfo:
    extra = {k: tuple(v or ()) for k, v in (spec.get("extra") or {}).items()}
    return UserInfo(spec.get("user") or "", tuple(spec.get("groups") or ()), spec.get("uid") or "", extra)


def _info_of(spec: Mapping[str, Any]) -> tuple[RequestInfo, list[str]]:
    """The request that is asked about, and what of the question could not be read."""
    other = spec.get("nonResourceAttributes")
    if other is not None:
        return RequestInfo(verb=other.get("verb") or "", path=other.get("path") or ""), []
    resource = spec["resourceAttributes"]
    errors: list[str] = []
    requirements = _field_requirements(resource.get("fieldSelector") or {}, errors)
    _note_labels(resource.get("labelSelector") or {}, errors)
    info = RequestInfo(
        verb=resource.get("verb") or "",
        path="",
        group=resource.get("group") or "",
        version=resource.get("version") or "",
        namespace=resource.get("namespace") or "",
        resource=resource.get("resource") or "",
        subresource=resource.get("subresource") or "",
        name=resource.get("name") or "",
        field_requirements=requirements,
    )
    return info, errors


def _note_labels(selector: Mapping[str, Any], errors: list[str]) -> None:
    """Say what of a label selector can't be read; nothing here decides by labels."""
    if raw := selector.get("rawSelector"):
        try:
            parse_label_selector(raw)
        except ValueError:
            errors.append(_IGNORED.format("labelSelector"))
    asked = selector.get("requirements") or ()
    wrong = (validate_requirement("", {**item, "values": item.get("values") or ()}) for item in asked)
    _note_ignored("labelSelector", len(asked), sum(1 for causes in wrong if not causes), errors)


def _note_ignored(selector: str, asked: int, known: int, errors: list[str]) -> None:
    if known < asked:
        text = _IGNORED.format(selector)
        errors.append(text.replace("ignored", "partially ignored") if known else text)


def _field_requirements(selector: Mapping[str, Any], errors: list[str]) -> _Requirements:
    """What the field selector asks for, as far as it says `is` or `is not` one value."""
    if raw := selector.get("rawSelector"):
        try:
            parsed = parse_field_selector(raw)
        except ValueError:
            errors.append(_IGNORED.format("fieldSelector"))
            return ()
        return tuple((r.key, r.operator, r.values[0]) for r in parsed.requirements)
    operators = {"In": "=", "NotIn": "!="}
    asked = selector.get("requirements") or ()
    known = [r for r in asked if r.get("operator") in operators and len(r.get("values") or ()) == 1]
    _note_ignored("fieldSelector", len(asked), len(known), errors)
    return tuple((r.get("key") or "", operators[r["operator"]], r["values"][0]) for r in known)
