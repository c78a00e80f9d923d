"""GET of servers: lists with filters, orders and pages, and one server."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from kumo.api.objects import parse_timestamp
from kumo.machinery.http import Response
from kumo.openstack.common import paging
from kumo.openstack.common.errors import ApiError
from kumo.openstack.common.service import Call, Route, reply
from kumo.openstack.nova.servers import view
from kumo.openstack.nova.servers.find import Servers
from kumo.openstack.nova.servers.view import Server

_SORT = {
    "created_at": "created",
    "updated_at": "updated",
    "display_name": "name",
    "uuid": "id",
    "project_id": "tenant_id",
}
_PLAIN = ("name", "status", "created", "updated", "id", "tenant_id", "user_id", "key_name")
_EXACT = {"project_id": "tenant_id", "tenant_id": "tenant_id", "user_id": "user_id", "key_name": "key_name"}


class Listing:
    """The reading server paths."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers

    def routes(self) -> list[Route]:
        """Its part of Nova's table."""
        return [
            Route("GET", "/v2.1/servers", self.brief),
            Route("GET", "/v2.1/servers/detail", self.detail),
            Route("GET", "/v2.1/servers/{id}", self.show),
        ]

    async def _page(self, call: Call) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
        query, caller = call.query, call.caller
        everywhere = any(query.get(k, "0").lower() not in ("0", "false") for k in ("all_tenants", "all_projects"))
        if everywhere and not caller.is_admin:
            raise ApiError(403, "Policy doesn't allow os_compute_api:servers:detail:get_all_tenants to be performed.")
        found = await self._servers.all("" if everywhere else call.project.namespace)
        rows: list[dict[str, Any]] = []
        for server in found:
            row = view.detail(server, call.base, call.version.minor, admin=caller.is_admin)
            if all(rule(server, row, query) for rule in _RULES):
                rows.append({**row, "_server": server})
        part = paging.page(paging.by_keys(rows, _order(call)), query)
        more = []
        if part.next_marker:
            text = paging.next_query(call.request.query_list, part.next_marker)
            more = [{"rel": "next", "href": f"{call.base}{call.request.path}?{text}"}]
        return part.items, more

    async def brief(self, call: Call) -> Response:
        """Ids and names."""
        rows, more = await self._page(call)
        body: dict[str, Any] = {"servers": [view.brief(row["_server"], call.base) for row in rows]}
        return reply({**body, **({"servers_links": more} if more else {})})

    async def detail(self, call: Call) -> Response:
        """All of each."""
        rows, more = await self._page(call)
        body: dict[str, Any] = {"servers": [{k: v for k, v in row.items() if k != "_server"} for row in rows]}
        return reply({**body, **({"servers_links": more} if more else {})})

    async def show(self, call: Call) -> Response:
        """One server."""
        server = await self._servers.get(call.caller, call.params["id"])
        shown = view.detail(server, call.base, call.version.minor, admin=call.caller.is_admin, show=True)
        return reply({"server": shown})


def _order(call: Call) -> list[tuple[str, str]]:
    keys = [v for k, v in call.request.query_list if k == "sort_key"]
    directions = [v for k, v in call.request.query_list if k == "sort_dir"]
    found = []
    for index, key in enumerate(keys):
        plain = _SORT.get(key, key)
        if plain not in _PLAIN:
            raise ApiError(400, f"Invalid input for query parameters sort_key. Value: {key}.")
        found.append((plain, directions[index] if index < len(directions) else "desc"))
    return [*found, ("created", "desc"), ("id", "desc")]


def _regex(text: str, actual: str) -> bool:
    """A search as the databases under Nova do it; a pattern that is none is taken literally."""
    if len(text) > 255:
        return False
    if not re.search(r"[\\^$.|?*+()\[\]{}]", text) or re.search(r"[*+}?]\)*[*+{]", text):
        return text in actual  # also patterns that could take for ever
    try:
        return re.search(text, actual) is not None
    except re.error:
        return text in actual


def _by_name(server: Server, row: dict[str, Any], query: dict[str, str]) -> bool:
    return "name" not in query or _regex(query["name"], row["name"])


def _by_status(server: Server, row: dict[str, Any], query: dict[str, str]) -> bool:
    if query.get("deleted", "false").lower() in ("true", "1"):
        return False
    return "status" not in query or row["status"] == query["status"].upper()


def _by_exact(server: Server, row: dict[str, Any], query: dict[str, str]) -> bool:
    return all(row[field] == query[key] for key, field in _EXACT.items() if key in query)


def _by_parts(server: Server, row: dict[str, Any], query: dict[str, str]) -> bool:
    facts: dict[str, str] = {
        "flavor": view.flavor_of(server).id,
        "image": view.image_id(server.vm),
        "host": view.host_of(server),
        "uuid": row["id"],
    }
    return all(query[key] == actual for key, actual in facts.items() if query.get(key))


def _by_ip(server: Server, row: dict[str, Any], query: dict[str, str]) -> bool:
    if "ip" not in query:
        return True
    return any(_regex(query["ip"], a["addr"]) for found in row["addresses"].values() for a in found)


def _by_tags(server: Server, row: dict[str, Any], query: dict[str, str]) -> bool:
    tags = set(row.get("tags") or ())

    def asked(key: str) -> set[str]:
        return set(filter(None, query.get(key, "").split(",")))

    if "tags-any" in query and not tags & asked("tags-any"):
        return False
    if "not-tags" in query and asked("not-tags") <= tags:
        return False
    return asked("tags") <= tags and not tags & asked("not-tags-any")


def _by_change(server: Server, row: dict[str, Any], query: dict[str, str]) -> bool:
    try:
        since, before = query.get("changes-since"), query.get("changes-before")
        at = parse_timestamp(row["updated"])
        return (not since or at >= parse_timestamp(since)) and (not before or at <= parse_timestamp(before))
    except (ValueError, OverflowError):
        raise ApiError(400, "Invalid input for query parameters changes-since. It is not a 'date-time'") from None


_RULES: tuple[Callable[[Server, dict[str, Any], dict[str, str]], bool], ...] = (
    _by_name, _by_status, _by_exact, _by_parts, _by_ip, _by_tags, _by_change,
)  # fmt: skip
