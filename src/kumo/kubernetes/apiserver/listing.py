"""GET of a collection: a list from the cache, or of an earlier revision from the store; whole or part by part."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from itertools import islice

from kumo.api.errors import StatusError, bad_request, expired, internal
from kumo.api.objects import Object
from kumo.api.selectors import Requirement, Selector, parse_field_selector, parse_label_selector, require_fields
from kumo.kubernetes.apiserver import yamls
from kumo.kubernetes.apiserver.bodies import JSON
from kumo.kubernetes.apiserver.call import Call, number
from kumo.kubernetes.apiserver.chunks import SortedChunks, gzip
from kumo.kubernetes.apiserver.compaction import KEY as COMPACTION
from kumo.kubernetes.apiserver.core import Core
from kumo.kubernetes.apiserver.entry import Entry, make_entry
from kumo.kubernetes.apiserver.forms import (
    list_head,
    metadata_only,
    row_order,
    table,
    table_head,
    table_rows,
    yaml_list,
)
from kumo.kubernetes.apiserver.keys import object_key, parse_key, resource_prefix
from kumo.kubernetes.apiserver.list_options import check_list_options
from kumo.kubernetes.apiserver.matching import FieldsOf, Match
from kumo.kubernetes.apiserver.pagination import INCONSISTENT, Position, decode_token, encode_token, token_expired
from kumo.kubernetes.apiserver.resource_cache import ResourceCache
from kumo.kubernetes.apiserver.responses import GZIP_ABOVE, value_response
from kumo.kubernetes.apiserver.slicing import in_slices, joined
from kumo.machinery.http import Response
from kumo.store.base import Compacted, FutureRevision, KeyValue, Store

_WAIT = 3.0
_PAGE = 500
_END = gzip(b"]}")


def match_of(call: Call) -> Match:
    """What the query selects. Raises 400."""
    labels, fields, name = call.query.get("labelSelector", ""), call.query.get("fieldSelector", ""), call.info.name
    namespace = call.namespace
    if not labels and not fields and not name:
        return Match(namespace)
    try:
        chosen = parse_field_selector(fields)
        require_fields(chosen, call.resource.strategy.selectable())
        selected = parse_label_selector(labels)
    except ValueError as error:
        raise bad_request(str(error)) from None
    if name and (stated := chosen.exact("metadata.name")) != name:
        # The path names one object: what the user may watch was decided by that name.
        if stated is not None or chosen:
            raise bad_request("field selector does not match the name of the object that the path names")
        chosen = Selector((Requirement("metadata.name", "=", (name,)),))
    return Match(namespace, selected, chosen)


def too_new(revision: int, current: int) -> StatusError:
    """504: the revision asked for has not been reached."""
    details = {
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    }
    return StatusError(504, "Timeout", f"Timeout: Too large resource version: {revision}, current: {current}", details)


async def await_revision(core: Core, revision: int) -> None:
    """Wait until the cache is at the revision. Raises 504 when it does not come."""
    if core.cache.revision < revision:
        try:
            async with asyncio.timeout(_WAIT):
                await core.cache.reach(revision)
        except TimeoutError:
            raise too_new(revision, core.cache.revision) from None


def parse_revision(text: str) -> int:
    """The number of a resource version, 0 for none. Raises 400."""
    if not text:
        return 0
    number_of_digits = len(text) if text.isascii() and text.isdecimal() else 0
    if not number_of_digits or number_of_digits > 20 or int(text) >= 1 << 64:
        why = "value out of range" if number_of_digits else "invalid syntax"
        shown = text[:40]
        raise bad_request(
            f'invalid resource version: resourceVersion: Invalid value: "{shown}": '
            f'strconv.ParseUint: parsing "{shown}": {why}'
        )
    return int(text)


class _Query:
    """The list's parameters, checked."""

    def __init__(self, call: Call) -> None:
        self.limit = max(0, number(call, "limit"))
        check_list_options(call, watch=False)
        self.match = match_of(call)
        self.revision_text = call.query.get("resourceVersion", "")
        self.how = call.query.get("resourceVersionMatch", "")
        token = call.query.get("continue", "")
        self.position = decode_token(token) if token else None
        if token and self.revision_text not in ("", "0"):
            raise bad_request("specifying resource version is not allowed when using continue")
        self.revision = parse_revision(self.revision_text)
        if self.revision_text == "0":
            self.limit = 0  # Any state will do: what is at hand is given whole.


async def list_objects(core: Core, store: Store, call: Call) -> Response:
    """The list that the request asks for."""
    query = _Query(call)
    where = core.cache.of(call.resource.stored.group, call.resource.stored.resource)
    if where.unreadable:
        where.require_readable(query.match.namespace)
    if query.position is not None:
        return await _next_part(core, store, call, query, where)
    if query.how == "Exact" or (query.revision and query.limit and not query.how):
        await await_revision(core, query.revision)
        if where.revision <= query.revision:
            where, _ = await _collection(core, call)
        if where.revision > query.revision:
            found = await _from_store(store, call, where, query, Position(query.revision, "", ""))
            return await list_answer(call, *found)
        if not await _is_kept(core, store, query.revision):
            raise _too_old()
        return await list_answer(call, *_cut(query, where, where.entries(query.match), query.revision))
    if query.revision:
        await await_revision(core, query.revision)
    elif not query.revision_text:
        await core.cache.catch_up()
    where, revision = await _collection(core, call)
    if query.match.fields:
        await know_fields(where, query.match)
        where, revision = await _collection(core, call)
    whole = not query.limit and not query.match.selects and (call.resource.plain or where.shown)
    if whole and not call.accepted.form and not call.accepted.yaml:
        where.lists += 1
        where.listed += len(where) if not query.match.namespace else 0
        return _whole(call, where.chunks(query.match.namespace), revision)
    part, meta = _cut(query, where, where.entries(query.match), revision)
    where.lists += 1
    where.listed += len(part)
    return await list_answer(call, part, meta)


async def know_fields(where: ResourceCache, match: Match) -> None:
    """Read the fields that selectors use of all objects that nobody asked that of before: each must be decoded."""
    if all(requirement.key.startswith("metadata.") for requirement in match.fields.requirements):
        return
    unknown = [entry for found in where.chunks(match.namespace) for entry in found if entry.fields is None]
    await in_slices(unknown, where.fields_of)


async def _collection(core: Core, call: Call) -> tuple[ResourceCache, int]:
    """The objects as of now in the version asked for, and the revision that they show at least."""
    resource = call.resource
    if resource.conversion is None:
        return core.cache.of(resource.stored.group, resource.stored.resource), core.cache.revision
    view = await resource.conversion.view(resource)
    return view, view.reached


def _list_meta(call: Call, meta: Object) -> Object:
    """The list's metadata; lists of custom resources name what could continue them even if nothing does."""
    return meta if call.resource.custom is None else {"continue": "", **meta}


def _whole(call: Call, found: list[SortedChunks], revision: int) -> Response:
    """The whole collection, put together from the chunks' bytes."""
    chunks = [chunk for namespace in found for chunk in namespace.chunks]
    kind = call.resource.type
    meta = _list_meta(call, {"resourceVersion": str(revision)})
    head = list_head(f"{kind.kind}List", kind.gvk.api_version, meta)
    headers = {"Cache-Control": "no-cache, private"}
    large = len(chunks) > 1 or sum(len(chunk.joined()) for chunk in chunks) > GZIP_ABOVE
    if large and "gzip" in call.request.headers.get("accept-encoding", ""):
        last = len(chunks) - 1
        parts = [gzip(head), *[chunk.zipped(i < last) for i, chunk in enumerate(chunks)], _END]
        headers.update({"Content-Encoding": "gzip", "Vary": "Accept-Encoding"})
        return Response(200, parts, headers=headers)
    if not large:
        return Response(200, b"".join((head, *[chunk.joined() for chunk in chunks], b"]}")), headers=headers)
    # What is kept of each chunk is sent: clients that read slowly hold no copies.
    parts = [head]
    for chunk in chunks:
        parts += (chunk.joined(), b",")
    parts[-1] = b"]}"
    return Response(200, parts, headers=headers)


_Part = tuple[list[Entry], Object]


def _cut(query: _Query, where: ResourceCache, entries: Iterable[Entry], revision: int) -> _Part:
    """The first `limit` entries and the list's metadata.

    A selector's list goes on as long as there is anything after its last entry, whether it matches or not: how many
    match is known only once all have been looked at.
    """
    meta: Object = {"resourceVersion": str(revision)}
    if not query.limit:
        return list(entries), meta
    iterator = iter(entries)
    found = list(islice(iterator, query.limit))
    if len(found) < query.limit:
        return found, meta
    last = found[-1]
    if query.match.selects:
        iterator = where.entries_after(last.namespace, last.name, Match(query.match.namespace))
    if next(iterator, None) is not None:
        meta["continue"] = encode_token(Position(revision, last.namespace, last.name))
        if not query.match.selects:
            meta["remainingItemCount"] = 1 + sum(1 for _ in iterator)
    return found, meta


async def _is_kept(core: Core, store: Store, revision: int) -> bool:
    """Whether the revision is none that the store has forgotten: its end is the same for all, changed since or not."""
    if revision >= core.cache.revision:
        return True
    try:
        await store.get(COMPACTION, revision=revision)
    except Compacted:
        return False
    return True


def _too_old() -> StatusError:
    return expired("The resourceVersion for the provided list is too old.")


async def _next_part(core: Core, store: Store, call: Call, query: _Query, where: ResourceCache) -> Response:
    position = query.position
    assert position is not None
    if position.revision == INCONSISTENT:
        await core.cache.catch_up()
        position = position._replace(revision=core.cache.revision)
    await await_revision(core, position.revision)
    if where.revision <= position.revision:
        where, _ = await _collection(core, call)
    if where.revision <= position.revision:
        if not await _is_kept(core, store, position.revision):
            raise token_expired(position)
        entries = where.entries_after(position.namespace, position.name, query.match)
        return await list_answer(call, *_cut(query, where, entries, position.revision))
    return await list_answer(call, *await _from_store(store, call, where, query, position))


async def _from_store(store: Store, call: Call, where: ResourceCache, query: _Query, position: Position) -> _Part:
    """A part of the list as it was at the position's revision. Raises 410."""
    group, resource = call.resource.stored.group, call.resource.stored.resource
    prefix = resource_prefix(group, resource)
    if query.match.namespace:
        prefix += f"{query.match.namespace}/"
    after = object_key(group, resource, position.namespace, position.name) if position.name else ""
    found: list[Entry] = []
    rest = 0
    try:
        while True:
            page = await store.range(prefix, revision=position.revision, limit=_PAGE, start_after=after)
            first = query.limit - len(found) if query.limit and not query.match.selects else len(page.kvs)
            fields_of, shown = await _as_shown(call, where, _entries(page.kvs[:first]))
            rest += max(0, len(page.kvs) - first)
            for entry in shown:
                if query.limit and len(found) == query.limit:
                    rest += 1
                elif query.match.matches(entry, fields_of):
                    found.append(entry)
            if not page.more or (rest and query.match.selects):
                break
            after = page.kvs[-1].key
    except Compacted:
        if query.position is not None:
            raise token_expired(position) from None
        raise _too_old() from None
    except FutureRevision as error:
        raise too_new(position.revision, error.current) from None
    meta: Object = {"resourceVersion": str(position.revision)}
    if rest:
        meta["continue"] = encode_token(Position(position.revision, found[-1].namespace, found[-1].name))
        if not query.match.selects:
            meta["remainingItemCount"] = rest
    return found, meta


def _entries(kvs: Iterable[KeyValue]) -> Iterator[Entry]:
    """The entries of stored values. Raises 500 for one that can't be read."""
    for kv in kvs:
        place = parse_key(kv.key)
        if kv.value[:1] != b"{":
            raise internal(f'unable to transform key "{kv.key}": {getattr(kv.value, "reason", "")}')
        yield make_entry(place.namespace, place.name, kv.mod_revision, kv.value)


async def _as_shown(call: Call, where: ResourceCache, entries: Iterable[Entry]) -> tuple[FieldsOf, Iterable[Entry]]:
    """The entries in the version asked for, if a webhook has to be asked for that, and what reads their fields."""
    resource = call.resource
    if resource.conversion is None:
        return where.fields_of, entries
    shown = await resource.conversion.shown(resource, list(entries))
    return lambda entry: resource.strategy.selectable_fields(entry.object()), shown


async def list_answer(call: Call, entries: list[Entry], meta: Object) -> Response:
    """The entries in the form that the client wants."""
    request, resource, form = call.request, call.resource, call.accepted
    kind = f"{resource.type.kind}List"
    if form.yaml and not form.form:
        head, tail = yaml_list(kind, resource.type.gvk.api_version, _list_meta(call, meta), empty=not entries)
        texts = await in_slices(entries, lambda entry: yamls.item(resource.object(entry)))
        return await joined(request, head, texts, b"", tail, "application/yaml")
    if form.form == "Table":
        include = call.query.get("includeObject", "Metadata")
        if form.yaml:
            return value_response(request, table(resource, entries, form, include, meta), as_yaml=True)
        rows = await in_slices(row_order(resource, entries), table_rows(resource, include))
        return await joined(request, table_head(resource, form, meta), rows, b",", b"]}", JSON)
    if form.form:
        head = list_head("PartialObjectMetadataList", f"meta.k8s.io/{form.version}", meta)
        items = await in_slices(entries, lambda entry: metadata_only(resource.raw(entry), form.version))
        return await joined(request, head, items, b",", b"]}", JSON)
    raw = [entry.raw for entry in entries] if resource.plain else await in_slices(entries, resource.raw)
    head = list_head(kind, resource.type.gvk.api_version, _list_meta(call, meta))
    return await joined(request, head, raw, b",", b"]}", JSON)
