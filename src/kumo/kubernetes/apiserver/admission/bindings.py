"""The values of the variables that expressions see, made once a request and target, and only if asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from kumo.api.users import AUTHENTICATED_GROUP, UserInfo
from kumo.kubernetes.apiserver.admission.matching import Target, namespace_of
from kumo.kubernetes.apiserver.admission.versions import Seen
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes, RequestInfo
from kumo.kubernetes.apiserver.authorization import Authorizer

if TYPE_CHECKING:
    from kumo.machinery.cel.libraries.authorization import Decision, Question


class Bindings:
    """The variables of one request as one target sees it."""

    def __init__(
        self, attrs: AdmissionAttributes, target: Target, seen: Seen, authorizer: Authorizer | None = None
    ) -> None:
        self._attrs = attrs
        self._target = target
        self._seen = seen
        self._authorizer = authorizer

    def values(self, **more: object) -> Mapping[str, object]:
        """All variables by name; `more` are `params`, `namespaceObject`."""
        from kumo.kubernetes.apiserver.admission.expressions import request_value

        found: dict[str, object] = {
            "object": self._seen.new(self._target),
            "oldObject": self._seen.old(self._target),
            "request": request_value(self._attrs, self._target),
            "namespaceObject": None,
            **more,
        }
        if self._authorizer is not None:
            found.update(authorizer_values(self._authorizer, self._attrs))
        return found


def authorizer_values(authorizer: Authorizer, attrs: AdmissionAttributes) -> Mapping[str, object]:
    """`authorizer` and `authorizer.requestResource` of the request's user."""
    from kumo.machinery.cel.libraries import authorization as cel

    def decide(question: Question) -> Decision:
        user = attrs.user if question.service_account is None else _service_account(*question.service_account)
        info = RequestInfo(
            question.verb,
            question.path,
            question.group,
            "*" if question.resource else "",
            question.namespace,
            question.resource,
            question.subresource,
            question.name,
        )
        found = authorizer.authorize(user, info)
        return cel.Decision(found.allowed, found.reason)

    own = cel.Authorizer(decide)
    asked = cel.Question(
        group=attrs.gvr.group,
        resource=attrs.gvr.resource,
        subresource=attrs.subresource,
        namespace=namespace_of(attrs),
        name=attrs.name,
    )
    return {"authorizer": own, "authorizer.requestResource": cel.ResourceCheck(own, asked)}


def _service_account(namespace: str, name: str) -> UserInfo:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED_GROUP)
    return UserInfo(f"system:serviceaccount:{namespace}:{name}", groups)
