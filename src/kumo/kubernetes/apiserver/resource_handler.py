"""Requests to stored resources: which verb and subresource is whose work."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from kumo.api.errors import method_not_allowed, no_such_path, not_found
from kumo.kubernetes.apiserver.answers import entry_response, object_response, scale_response
from kumo.kubernetes.apiserver.attributes import RequestInfo
from kumo.kubernetes.apiserver.binding import bind, read_binding
from kumo.kubernetes.apiserver.call import Call, number
from kumo.kubernetes.apiserver.core import Core
from kumo.kubernetes.apiserver.creating import create
from kumo.kubernetes.apiserver.delete_options import read_options
from kumo.kubernetes.apiserver.deleting import (
    answers_with_object,
    delete,
    delete_collection,
    success,
)
from kumo.kubernetes.apiserver.eviction import evict
from kumo.kubernetes.apiserver.list_options import check_list_options
from kumo.kubernetes.apiserver.listing import await_revision, list_answer, list_objects, match_of, parse_revision
from kumo.kubernetes.apiserver.pagination import Position, encode_token
from kumo.kubernetes.apiserver.partial_updates import finalize_namespace
from kumo.kubernetes.apiserver.patching import patch
from kumo.kubernetes.apiserver.scaling import get_scale, put_scale
from kumo.kubernetes.apiserver.updating import missing, update
from kumo.kubernetes.apiserver.watching import watch
from kumo.machinery.http import Answer
from kumo.store.base import Store

Handle = Callable[[Call], Awaitable[Answer]]
_BY_VERSION = ("get", "list", "watch")
"""The verbs that say themselves how fresh an answer must be: a resourceVersion makes do with the cache."""
_PARTS = ("status", "approval", "ephemeralcontainers", "resize")
"""The subresources that are a part of their object, with rules of their own (`kinds.rules.Part`)."""


class ResourceHandler:
    """Answers calls to stored resources. `others` has the subresources that other parts of the server answer."""

    def __init__(self, core: Core, store: Store, others: dict[tuple[str, str], Handle]) -> None:
        self._core = core
        self._store = store
        self._others = others
        self._verbs: dict[str, Handle] = {
            "get": self._get,
            "list": self._list,
            "watch": self._watch,
            "create": self._create,
            "update": self._update,
            "patch": self._patch,
            "delete": self._delete,
            "deletecollection": self._delete_collection,
        }

    async def handle(self, call: Call) -> Answer:
        """The answer. Raises StatusError."""
        info = call.info
        _ = call.accepted  # What can't be answered must not be done either.
        if not self._store.exclusive and info.verb not in _BY_VERSION:
            # What others have written counts for this request: the object, its namespace, quotas, what refers to it.
            await self._core.cache.catch_up()
        if info.subresource:
            return await self._subresource(call)
        if not call.resource.type.namespaced and info.namespace and info.resource != "namespaces":
            raise no_such_path()
        if info.verb not in call.resource.type.verbs:
            raise method_not_allowed()
        if call.resource.type.namespaced and not info.namespace and not _over_all_namespaces(info):
            if info.verb == "create":
                raise method_not_allowed()
            raise no_such_path() if info.name else method_not_allowed()
        return await self._verbs[info.verb](call)

    # -- objects ----------------------------------------------------------------------------------------------------

    async def _get(self, call: Call) -> Answer:
        core, info = self._core, call.info
        version = call.query.get("resourceVersion", "") if call.query else ""
        if version:
            await await_revision(core, parse_revision(version))
        else:
            await core.cache.catch_up()
        entry = core.storage.get(call.resource, call.namespace, info.name)
        if entry is None:
            raise missing(call)
        return entry_response(call, await call.resource.presented(entry))

    async def _list(self, call: Call) -> Answer:
        return await list_objects(self._core, self._store, call)

    async def _watch(self, call: Call) -> Answer:
        return await watch(self._core, call)

    async def _create(self, call: Call) -> Answer:
        if call.info.name:
            raise method_not_allowed()
        entry, _ = await create(self._core, call)
        return entry_response(call, await call.resource.presented(entry), 201)

    async def _update(self, call: Call) -> Answer:
        if not call.info.name:
            raise method_not_allowed()
        entry, made = await update(self._core, call)
        return entry_response(call, await call.resource.presented(entry), 201 if made else 200)

    async def _patch(self, call: Call) -> Answer:
        if not call.info.name:
            raise method_not_allowed()
        entry, made = await patch(self._core, call)
        return entry_response(call, await call.resource.presented(entry), 201 if made else 200)

    async def _delete(self, call: Call) -> Answer:
        entry, gone = await delete(self._core, call, await read_options(call))
        if gone and not answers_with_object(call):
            return object_response(call, success(call, entry))
        return entry_response(call, await call.resource.presented(entry))

    async def _delete_collection(self, call: Call) -> Answer:
        options = await read_options(call)
        check_list_options(call, watch=False)
        limit = max(0, number(call, "limit"))
        revision = self._core.cache.revision
        found, cut = await delete_collection(self._core, call, match_of(call), options, limit)
        meta = {"resourceVersion": str(revision)}
        if cut is not None:
            meta["continue"] = encode_token(Position(revision, cut.namespace, cut.name))
        if call.resource.conversion is not None:
            found = list(await call.resource.conversion.shown(call.resource, found))
        return await list_answer(call, found, meta)

    # -- subresources -----------------------------------------------------------------------------------------------

    async def _subresource(self, call: Call) -> Answer:
        info, name = call.info, call.info.subresource
        known = call.resource.subresource(name)
        if known is None and call.resource.custom is not None:
            raise not_found(info.group, info.resource, info.name)
        if known is None:
            raise no_such_path()
        other = self._others.get((info.resource, name)) if not info.group else None
        if other is not None:
            return await other(call)
        if info.verb not in known.verbs:
            raise method_not_allowed()
        if name in _PARTS:
            return await self._part(call)
        if name == "scale":
            value = await (get_scale(self._core, call) if info.verb == "get" else put_scale(self._core, call))
            return scale_response(call, value)
        if name == "binding":
            return object_response(call, await bind(self._core, call, await read_binding(call)), 201)
        if name == "eviction":
            return object_response(call, await evict(self._core, call), 201)
        if name == "finalize":
            return entry_response(call, await finalize_namespace(self._core, call))
        raise no_such_path()

    async def _part(self, call: Call) -> Answer:
        if call.info.verb == "get":
            return await self._get(call)
        entry, _ = await (patch if call.info.verb == "patch" else update)(self._core, call)
        return entry_response(call, await call.resource.presented(entry))


def _over_all_namespaces(info: RequestInfo) -> bool:
    return not info.namespace and info.verb in ("list", "watch", "deletecollection")
