"""Resources that are answered and never stored: reviews of tokens and rights, bindings, component statuses.

Also the subresources of stored ones that lead elsewhere: tokens of service accounts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from kumo.api.builtin import RESOURCE_TYPES, is_stored
from kumo.api.errors import method_not_allowed, no_such_path, not_found
from kumo.api.objects import Object
from kumo.api.resources import GVK, ResourceType
from kumo.api.schema import builtin_schema
from kumo.api.users import UserInfo
from kumo.kubernetes.apiserver import tables
from kumo.kubernetes.apiserver.answers import object_response
from kumo.kubernetes.apiserver.attributes import RequestInfo
from kumo.kubernetes.apiserver.authorization import AccessReviews
from kumo.kubernetes.apiserver.binding import bind
from kumo.kubernetes.apiserver.call import Call
from kumo.kubernetes.apiserver.core import Core
from kumo.kubernetes.apiserver.creation_review import admit_creation
from kumo.kubernetes.apiserver.forms import check_include
from kumo.kubernetes.apiserver.incoming import read_as, read_object
from kumo.kubernetes.apiserver.kinds import strategy_for
from kumo.kubernetes.apiserver.negotiation import accepted, not_acceptable
from kumo.kubernetes.apiserver.registry import Resource
from kumo.kubernetes.apiserver.responses import json_response, value_response, warned
from kumo.kubernetes.apiserver.splice import encode
from kumo.kubernetes.apiserver.tokens import TokenEndpoints, self_subject_review
from kumo.machinery.http import Answer, Request

Answerer = Callable[[Request, RequestInfo, UserInfo], Awaitable[Answer]]
_Review = Callable[[Call, Object], Awaitable[Object]]
_TOKEN_REQUEST = GVK("authentication.k8s.io", "v1", "TokenRequest")


class VirtualResources:
    """Answers requests to resources without objects."""

    def __init__(self, core: Core, access: AccessReviews, tokens: TokenEndpoints) -> None:
        self._core = core
        self._access = access
        self._tokens = tokens
        self._types: dict[tuple[str, str, str], ResourceType] = {
            (t.group, t.version, t.resource): t for t in RESOURCE_TYPES if not is_stored(t)
        }
        self._reviews: dict[str, _Review] = {
            "tokenreviews": self._token_review,
            "selfsubjectreviews": self._self_subject_review,
            "subjectaccessreviews": self._subject_access,
            "localsubjectaccessreviews": self._local_access,
            "selfsubjectaccessreviews": self._self_access,
            "selfsubjectrulesreviews": self._self_rules,
            "bindings": self._binding,
        }

    def find(self, info: RequestInfo) -> Answerer | None:
        """What answers the request, or None when the resource has objects."""
        return self._answer if (info.group, info.version, info.resource) in self._types else None

    def subresources(self) -> dict[tuple[str, str], Callable[[Call], Awaitable[Answer]]]:
        """The subresources of stored core resources that are answered here, by resource and name."""
        return {("serviceaccounts", "token"): self._token_request}

    async def _answer(self, request: Request, info: RequestInfo, user: UserInfo) -> Answer:
        kind = self._types[(info.group, info.version, info.resource)]
        if info.resource == "componentstatuses":
            if info.verb not in ("get", "list"):
                raise method_not_allowed()
            return self._components(request, info)
        if info.name:
            raise no_such_path()
        if info.verb != "create":
            raise method_not_allowed()
        resource = Resource(kind, kind, builtin_schema(kind.gvk), strategy_for(kind.gvk))
        call = Call(request, info, user, resource, request.query)
        if call.accepted.form:
            raise not_acceptable("application/json, application/yaml")  # What is not stored has no tables.
        body = await read_object(call)
        body = await admit_creation(self._core, call, kind.gvk, body)
        return object_response(call, await self._reviews[info.resource](call, body), 201)

    async def _token_review(self, call: Call, body: Object) -> Object:
        return await self._tokens.review(body)

    async def _self_subject_review(self, call: Call, body: Object) -> Object:
        return self_subject_review(call.user)

    async def _subject_access(self, call: Call, body: Object) -> Object:
        return self._access.subject(body)

    async def _local_access(self, call: Call, body: Object) -> Object:
        return self._access.local_subject(call.info.namespace, body)

    async def _self_access(self, call: Call, body: Object) -> Object:
        return self._access.self_subject(call.user, body)

    async def _self_rules(self, call: Call, body: Object) -> Object:
        return self._access.self_rules(call.user, body)

    async def _binding(self, call: Call, body: Object) -> Object:
        pods = self._core.registry.find("", "v1", "pods")
        assert pods is not None
        name = (body.get("metadata") or {}).get("name") or ""
        info = RequestInfo("create", "", "", "v1", call.info.namespace, "pods", "binding", name)
        return await bind(self._core, Call(call.request, info, call.user, pods, call.query, call.warnings), body)

    async def _token_request(self, call: Call) -> Answer:
        if call.info.verb != "create":
            raise method_not_allowed()
        decoded = await read_as(call, _TOKEN_REQUEST)
        stated = {key: value for key, value in (decoded.get("metadata") or {}).items() if value}
        decoded["metadata"] = {"name": call.info.name, "namespace": call.namespace, **stated}
        decoded = await admit_creation(self._core, call, _TOKEN_REQUEST, decoded, subresource="token")
        found = self._tokens.request(call.namespace, call.info.name, decoded, dry_run=call.dry_run())
        return object_response(call, found, 201)

    def _components(self, request: Request, info: RequestInfo) -> Answer:
        """The store is the one component whose health this server can see (the kind is deprecated since 1.19)."""
        item: Object = {
            "metadata": {"name": "etcd-0"},
            "conditions": [{"type": "Healthy", "status": "True", "message": "ok"}],
        }
        if not info.name:
            found = {"kind": "ComponentStatusList", "apiVersion": "v1", "metadata": {}, "items": [item]}
        elif info.name == "etcd-0":
            found = {"kind": "ComponentStatus", "apiVersion": "v1", **item}
        else:
            raise not_found("", "componentstatus", info.name)
        if accepted(request.headers.get("accept", "")).form == "Table":
            kind = self._types[("", "v1", "componentstatuses")]
            include = check_include(request.query.get("includeObject", ""))
            row = {"kind": "ComponentStatus", "apiVersion": "v1", **item}
            answer = value_response(request, tables.table(kind, [row], metadata={}, include_object=include))
        else:
            answer = json_response(request, encode(found))
        return warned(answer, ["v1 ComponentStatus is deprecated in v1.19+"])


def virtual_types() -> list[ResourceType]:
    """The resources that are answered and never stored."""
    return [kind for kind in RESOURCE_TYPES if not is_stored(kind)]
