"""Flavors: instance types of the whole cluster, with what OpenStack knows beyond CPU and memory in annotations."""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass, field
from typing import Any

from kumo.api.errors import StatusError, is_already_exists
from kumo.api.objects import Object, annotations_of, name_of
from kumo.api.quantities import parse
from kumo.machinery.client import Client
from kumo.machinery.http import Response
from kumo.openstack.common import names, paging
from kumo.openstack.common.errors import ApiError
from kumo.openstack.common.service import Call, Route, empty, reply
from kumo.openstack.common.validate import check

_DETAILS = f"{names.PREFIX}/flavor"
_DEFAULTS = (
    # id, name, MiB, CPUs, GiB
    ("42", "m1.nano", 128, 1, 1),
    ("84", "m1.micro", 192, 1, 1),
    ("1", "m1.tiny", 512, 1, 1),
    ("2", "m1.small", 2048, 1, 20),
    ("3", "m1.medium", 4096, 2, 40),
    ("4", "m1.large", 8192, 4, 80),
    ("5", "m1.xlarge", 16384, 8, 160),
)
_COUNT = {"type": ["integer", "string"], "pattern": "^[0-9]+$"}
_FLAVOR = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"\S"},
        "id": {"type": ["string", "integer", "null"], "maxLength": 255, "pattern": r"^[a-zA-Z0-9. _-]+$"},
        "ram": {**_COUNT, "minimum": 1},
        "vcpus": {**_COUNT, "minimum": 1},
        "disk": {**_COUNT, "minimum": 0},
        "OS-FLV-EXT-DATA:ephemeral": {**_COUNT, "minimum": 0},
        "swap": {**_COUNT, "minimum": 0},
        "rxtx_factor": {"type": ["number", "string"]},
        "os-flavor-access:is_public": {"type": ["boolean", "string"]},
        "description": {"type": ["string", "null"], "maxLength": 65535},
    },
    "required": ["name", "ram", "vcpus", "disk"],
    "additionalProperties": False,
}
_SPECS = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"], "maxLength": 255}}


@dataclass(frozen=True, slots=True)
class Flavor:
    """A size of machines. `ram` and `swap` in MiB, `disk` and `ephemeral` in GiB; `type_name`: the instance type's."""

    id: str
    name: str
    ram: int
    vcpus: int
    disk: int = 0
    ephemeral: int = 0
    swap: int = 0
    description: str | None = None
    extra_specs: dict[str, str] = field(default_factory=dict)
    type_name: str = ""


def default_flavors() -> list[Object]:
    """The flavors of a new cloud."""
    return [flavor_object(Flavor(i, n, ram, cpus, disk, type_name=n)) for i, n, ram, cpus, disk in _DEFAULTS]


def flavor_object(flavor: Flavor) -> Object:
    """The instance type that a flavor is."""
    details = {
        "id": flavor.id,
        "disk": flavor.disk,
        "ephemeral": flavor.ephemeral,
        "swap": flavor.swap,
        "description": flavor.description,
        "extra_specs": flavor.extra_specs,
    }
    return {
        "apiVersion": names.FLAVORS.api_version,
        "kind": "VirtualMachineClusterInstancetype",
        "metadata": {
            "name": flavor.type_name,
            "labels": {names.FLAVOR_ID: _label(flavor.id)},
            "annotations": {names.NAME: flavor.name, _DETAILS: json.dumps(details)},
        },
        "spec": {"cpu": {"guest": flavor.vcpus}, "memory": {"guest": f"{flavor.ram}Mi"}},
    }


def flavor_of(found: Object) -> Flavor:
    """The flavor that an instance type is, kubectl-made ones too (their id is their name)."""
    details = details_of(found)
    return Flavor(
        id=str(details.get("id") or name_of(found)),
        name=names.display_name(found),
        ram=mebibytes(found["spec"]["memory"]["guest"]),
        vcpus=int(found["spec"]["cpu"]["guest"]),
        disk=int(details.get("disk") or 0),
        ephemeral=int(details.get("ephemeral") or 0),
        swap=int(details.get("swap") or 0),
        description=details.get("description"),
        extra_specs={str(k): str(v) for k, v in (details.get("extra_specs") or {}).items()},
        type_name=name_of(found),
    )


def details_of(found: Object) -> dict[str, Any]:
    """What the annotation says beyond CPU and memory; nothing if it can't be read."""
    try:
        details = json.loads(annotations_of(found).get(_DETAILS, "{}"))
    except ValueError:
        return {}
    return details if isinstance(details, dict) else {}


def mebibytes(quantity: Any) -> int:
    """A quantity of memory in whole MiB."""
    return int(parse(str(quantity))) >> 20


async def all_flavors(client: Client) -> list[Flavor]:
    """Every flavor."""
    return [flavor_of(f) for f in (await client.list(names.FLAVORS)).items]


def _label(identity: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", identity)[:63].strip("._-")


def view(flavor: Flavor, base: str, minor: int) -> dict[str, Any]:
    """A flavor in detail, at a microversion."""
    made: dict[str, Any] = {
        "id": flavor.id,
        "name": flavor.name,
        "ram": flavor.ram,
        "disk": flavor.disk,
        "swap": flavor.swap or (0 if minor >= 75 else ""),
        "OS-FLV-EXT-DATA:ephemeral": flavor.ephemeral,
        "OS-FLV-DISABLED:disabled": False,
        "vcpus": flavor.vcpus,
        "os-flavor-access:is_public": True,
        "rxtx_factor": 1.0,
        "links": links(flavor, base),
    }
    if minor >= 55:
        made["description"] = flavor.description
    if minor >= 61:
        made["extra_specs"] = flavor.extra_specs
    return made


def links(flavor: Flavor, base: str) -> list[dict[str, str]]:
    """Where a flavor is."""
    return [
        {"rel": "self", "href": f"{base}/compute/v2.1/flavors/{flavor.id}"},
        {"rel": "bookmark", "href": f"{base}/compute/flavors/{flavor.id}"},
    ]


class Flavors:
    """The flavor paths."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def routes(self) -> list[Route]:
        """Its part of Nova's table."""
        return [
            Route("GET", "/v2.1/flavors", self.brief),
            Route("GET", "/v2.1/flavors/detail", self.detail),
            Route("POST", "/v2.1/flavors", self.create),
            Route("GET", "/v2.1/flavors/{id}", self.show),
            Route("DELETE", "/v2.1/flavors/{id}", self.delete),
            Route("GET", "/v2.1/flavors/{id}/os-extra_specs", self.extra_specs),
            Route("POST", "/v2.1/flavors/{id}/os-extra_specs", self.add_specs),
            Route("DELETE", "/v2.1/flavors/{id}/os-extra_specs/{key}", self.remove_spec),
        ]

    async def find(self, identity: str) -> Flavor:
        """The flavor of that id. Raises ApiError 404."""
        for flavor in await all_flavors(self._client):
            if flavor.id == identity:
                return flavor
        raise ApiError(404, f"Flavor {identity} could not be found.")

    async def _page(self, call: Call) -> tuple[list[Flavor], list[dict[str, str]]]:
        found = await all_flavors(self._client)
        for key, actual in (("minRam", "ram"), ("minDisk", "disk")):
            if key in call.query:
                least = paging.number(call.query, key, 0)
                found = [f for f in found if getattr(f, actual) >= least]
        key = call.query.get("sort_key", "flavorid").replace("flavorid", "id")
        order = [(key, call.query.get("sort_dir", "asc"))]
        rows = [
            {"id": f.id, "name": f.name, "memory_mb": f.ram, "disk": f.disk, "vcpus": f.vcpus, "it": f} for f in found
        ]
        part = paging.page(paging.by_keys(rows, order), call.query)
        more = []
        if part.next_marker:
            query = paging.next_query(call.request.query_list, part.next_marker)
            more = [{"rel": "next", "href": f"{call.base}{call.request.path}?{query}"}]
        return [row["it"] for row in part.items], more

    async def brief(self, call: Call) -> Response:
        """Ids and names."""
        found, more = await self._page(call)
        shown: list[dict[str, Any]] = [{"id": f.id, "name": f.name, "links": links(f, call.base)} for f in found]
        if call.at_least(55):
            shown = [{**s, "description": f.description} for s, f in zip(shown, found, strict=True)]
        return reply({"flavors": shown, **({"flavors_links": more} if more else {})})

    async def detail(self, call: Call) -> Response:
        """All of each."""
        found, more = await self._page(call)
        shown = [view(f, call.base, call.version.minor) for f in found]
        return reply({"flavors": shown, **({"flavors_links": more} if more else {})})

    async def show(self, call: Call) -> Response:
        """One flavor."""
        return reply({"flavor": view(await self.find(call.params["id"]), call.base, call.version.minor)})

    async def create(self, call: Call) -> Response:
        """A new flavor (administrators)."""
        _admin(call, "create")
        given = await call.document("flavor")
        check({"flavor": given}, {"properties": {"flavor": _FLAVOR}})
        identity = str(given.get("id") or uuid.uuid4())
        found = await all_flavors(self._client)
        if any(f.id == identity for f in found):
            raise ApiError(409, f"Flavor with ID {identity} already exists.")
        if any(f.name == given["name"] for f in found):
            raise ApiError(409, f"Flavor with name {given['name']} already exists.")
        flavor = Flavor(
            identity,
            given["name"],
            _number(given, "ram", 1),
            _number(given, "vcpus", 1),
            _number(given, "disk", 0),
            _number(given, "OS-FLV-EXT-DATA:ephemeral", 0),
            _number(given, "swap", 0),
            given.get("description"),
            type_name=_type_name(given["name"]),
        )
        try:
            await call.caller.kube.create(names.FLAVORS, flavor_object(flavor))
        except StatusError as error:
            if is_already_exists(error):
                raise ApiError(409, f"Flavor with name {given['name']} already exists.") from None
            raise
        return reply({"flavor": view(flavor, call.base, call.version.minor)})

    async def delete(self, call: Call) -> Response:
        """Remove a flavor; servers of it keep what they have (administrators)."""
        _admin(call, "delete")
        flavor = await self.find(call.params["id"])
        await call.caller.kube.delete(names.FLAVORS, flavor.type_name)
        return empty(202)

    async def extra_specs(self, call: Call) -> Response:
        """The extra specs."""
        return reply({"extra_specs": (await self.find(call.params["id"])).extra_specs})

    async def add_specs(self, call: Call) -> Response:
        """Add or change extra specs (administrators)."""
        _admin(call, "extra-specs:create")
        given = await call.document("extra_specs")
        check(given, _SPECS)
        flavor = await self.find(call.params["id"])
        await self._write(call, flavor, {**flavor.extra_specs, **{k: str(v) for k, v in given.items()}})
        return reply({"extra_specs": given})

    async def remove_spec(self, call: Call) -> Response:
        """Take an extra spec away (administrators)."""
        _admin(call, "extra-specs:delete")
        flavor, key = await self.find(call.params["id"]), call.params["key"]
        if key not in flavor.extra_specs:
            raise ApiError(404, f"Flavor {flavor.id} has no extra specs with key {key}.")
        await self._write(call, flavor, {k: v for k, v in flavor.extra_specs.items() if k != key})
        return empty(200)

    async def _write(self, call: Call, flavor: Flavor, specs: dict[str, str]) -> None:
        details = details_of(await self._client.get(names.FLAVORS, flavor.type_name))
        text = json.dumps({"id": flavor.id, **details, "extra_specs": specs})
        await call.caller.kube.patch(names.FLAVORS, flavor.type_name, {"metadata": {"annotations": {_DETAILS: text}}})


def _admin(call: Call, action: str) -> None:
    if not call.caller.is_admin:
        raise ApiError(403, f"Policy doesn't allow os_compute_api:os-flavor-manage:{action} to be performed.")


def _number(given: dict[str, Any], key: str, least: int) -> int:
    value = int(given.get(key) or 0)
    bound = f"less than the minimum of {least}" if value < least else f"greater than the maximum of {2**31 - 1}"
    if not least <= value <= 2**31 - 1:
        raise ApiError(400, f"Invalid input for field/attribute {key}. Value: {value}. {value} is {bound}")
    return value


def _type_name(name: str) -> str:
    plain = re.sub(r"[^a-z0-9.-]+", "-", name.lower()).strip("-.")[:60]
    return plain if plain == name else f"{plain or 'flavor'}-{uuid.uuid4().hex[:8]}"
