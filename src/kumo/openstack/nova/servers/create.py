"""POST of servers, and what a server's body may say."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from kumo.api.errors import StatusError
from kumo.api.objects import Object, name_of, namespace_of, owner_reference, uid_of
from kumo.api.resources import SECRETS, VMS
from kumo.machinery.client import Client
from kumo.machinery.http import Response
from kumo.openstack.common import names
from kumo.openstack.common.caller import Caller
from kumo.openstack.common.disks import DiskStore, DiskStoreError, disk_name
from kumo.openstack.common.errors import ApiError
from kumo.openstack.common.files import blob_path
from kumo.openstack.common.service import Call, Route, reply
from kumo.openstack.common.validate import check
from kumo.openstack.nova.flavors import Flavor, Flavors
from kumo.openstack.nova.keypairs import Keypairs, public_key_of
from kumo.openstack.nova.networks import POD_NETWORK
from kumo.openstack.nova.policy import enforce
from kumo.openstack.nova.servers import build, notes, view
from kumo.openstack.nova.servers.build import Wanted

_BODY_LIMIT = 393216
_USER_DATA_LIMIT = 65535
_TEXT = {"type": "string", "maxLength": 255}
_NAME = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"\S"}
_COUNT = {"type": ["integer", "string"], "minimum": 1, "maximum": 1000, "pattern": "^[1-9][0-9]{0,2}$"}
_REFERENCE = {"type": ["string", "integer"]}
METADATA = {"type": "object", "additionalProperties": {"type": "string", "maxLength": 255}}
_KNOWN: dict[str, Any] = {
    "name": _NAME,
    "imageRef": {"type": "string"},
    "flavorRef": _REFERENCE,
    "adminPass": {"type": "string"},
    "metadata": METADATA,
    "networks": {"type": ["array", "string"], "items": {"type": "object"}},
    "OS-DCF:diskConfig": {"type": "string", "enum": ["AUTO", "MANUAL"]},
    "accessIPv4": {"type": "string"},
    "accessIPv6": {"type": "string"},
    "personality": {"type": "array"},
    "availability_zone": _TEXT,
    "block_device_mapping": {"type": "array"},
    "block_device_mapping_v2": {"type": "array", "items": {"type": "object"}},
    "config_drive": {"type": ["boolean", "string"]},
    "key_name": _TEXT,
    "min_count": _COUNT,
    "max_count": _COUNT,
    "return_reservation_id": {"type": ["boolean", "string"]},
    "security_groups": {"type": "array", "items": {"type": "object"}},
    "user_data": {"type": "string"},
    "description": {"type": ["string", "null"], "maxLength": 255},
    "tags": {"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 60}, "maxItems": 50},
    "trusted_image_certificates": {"type": ["array", "null"]},
    "host": _TEXT,
    "hypervisor_hostname": _TEXT,
    "hostname": {
        "type": "string",
        "minLength": 1,
        "maxLength": 63,
        "pattern": r"^[a-zA-Z0-9]+[a-zA-Z0-9-]*[a-zA-Z0-9]*$",
    },
}
_SINCE = {"description": 19, "tags": 52, "trusted_image_certificates": 63, "host": 74, "hypervisor_hostname": 74,
          "hostname": 90}  # fmt: skip
_REFUSED = ("block_device_mapping", "host", "hypervisor_hostname", "trusted_image_certificates")
"""What is not possible here yet; said rather than dropped."""


class Create:
    """Makes servers. `client` may do everything; the machines are made as the caller."""

    def __init__(
        self, client: Client, flavors: Flavors, keypairs: Keypairs, images_dir: Path, disks: DiskStore
    ) -> None:
        self._client = client
        self._flavors = flavors
        self._keypairs = keypairs
        self._images_dir = images_dir
        self._disks = disks
        self._importing: dict[str, asyncio.Lock] = {}

    def routes(self) -> list[Route]:
        """Its part of Nova's table."""
        return [Route("POST", "/v2.1/servers", self.create)]

    async def create(self, call: Call) -> Response:
        """Make one server or several alike."""
        given = await call.document("server", _BODY_LIMIT)
        enforce(call.caller, "os_compute_api:servers:create")
        project = call.project
        minor = call.version.minor
        known = {k: v for k, v in _KNOWN.items() if _SINCE.get(k, 1) <= minor}
        schema = {
            "type": "object",
            "properties": known,
            "required": ["name", "flavorRef"],
            "additionalProperties": False,
        }
        if minor >= 37:
            schema["required"] = ["name", "flavorRef", "networks"]
        check({"server": given}, {"properties": {"server": schema}})
        wanted = await self._wanted(call, given)
        least = int(given.get("min_count") or 1)
        most = int(given.get("max_count") or least)
        if least > most:
            raise ApiError(400, "min_count must be <= max_count")
        made: list[Object] = []
        try:
            for index in range(most):
                name = wanted.name if most == 1 else f"{wanted.name}-{index + 1}"
                made.append(await self._make(call.caller, replace(wanted, name=name, index=index), project.namespace))
        except StatusError as error:
            if len(made) < least:
                for vm in made:
                    await call.caller.kube.delete(VMS, name_of(vm), namespace_of(vm))
                if error.code == 403 and "quota" in error.message:
                    raise ApiError(403, f"Quota exceeded for instances: {error.message}") from None
                raise
        identity = uid_of(made[0])
        if str(given.get("return_reservation_id", "")).lower() == "true":
            return reply({"reservation_id": wanted.reservation}, 202)
        body = {
            "id": identity,
            "links": view.links(identity, call.base),
            "OS-DCF:diskConfig": given.get("OS-DCF:diskConfig", "MANUAL"),
            "security_groups": given.get("security_groups") or [{"name": "default"}],
        }
        return reply({"server": body}, 202, {"Location": f"{call.base}/compute/v2.1/servers/{identity}"})

    async def _wanted(self, call: Call, given: dict[str, Any]) -> Wanted:
        for key in _REFUSED:
            if given.get(key):
                raise ApiError(400, f"{key} is not supported.")
        try:
            flavor = await self._flavors.find(str(given["flavorRef"]))
        except ApiError:
            raise ApiError(400, f"Flavor {given['flavorRef']} could not be found.") from None
        image = await self._image(call.caller, _image_reference(given))
        fits(flavor, image)
        public_key = ""
        key_name: str = given.get("key_name") or ""
        if key_name:
            secret = await self._keypairs.find(call.caller.user_id, key_name)
            if secret is None:
                raise ApiError(400, "Invalid key_name provided.")
            public_key = public_key_of(secret)
        reference = await self._bootable(image)
        reservation = f"r-{call.request_id[4:12]}"
        return Wanted(
            name=given["name"].strip(),
            flavor=flavor,
            image_id=name_of(image),
            disk=reference,
            user_id=call.caller.user_id,
            user_data=_user_data(given.get("user_data")),
            public_key=public_key,
            key_name=key_name,
            metadata=given.get("metadata") or {},
            tags=tuple(given.get("tags") or ()),
            description=given.get("description"),
            networked=_networked(given.get("networks")),
            config_drive=str(given.get("config_drive", "")).lower() in ("true", "1"),
            zone=given.get("availability_zone", ""),
            reservation=reservation,
            actions=notes.with_action({}, "create", call.request_id, call.caller.user_id, call.project.id),
            hostname=str(given.get("hostname", "")).lower(),
        )

    async def _image(self, caller: Caller, identity: str) -> Object:
        if names.is_uuid(identity):
            for found in (await self._client.list(names.IMAGES, field_selector=f"metadata.name={identity}")).items:
                if _usable(found, caller):
                    return found
        raise ApiError(400, "Can not find requested image" if names.is_uuid(identity) else "Invalid imageRef provided.")

    async def _bootable(self, image: Object) -> str:
        """Make the image a container disk, once; its reference. One import at a time for each image."""
        status = image["status"]
        reference = disk_name(namespace_of(image), name_of(image), status["checksum"])
        lock = self._importing.setdefault(reference, asyncio.Lock())
        async with lock:
            try:
                await self._disks.put(blob_path(self._images_dir, status["sha512"]), reference)
            except DiskStoreError as error:
                raise ApiError(503, f"No valid host was found. {error}") from error
        if not lock.locked():
            self._importing.pop(reference, None)
        return reference

    async def _make(self, caller: Caller, wanted: Wanted, namespace: str) -> Object:
        """The machine and its Secrets, all or nothing; they go when it goes."""
        vm_name = build.object_name(wanted.name)
        kept: list[Object] = []
        try:
            for secret in build.secrets_for(wanted, vm_name, namespace):
                kept.append(await caller.kube.create(SECRETS, secret))
            made = await caller.kube.create(VMS, build.machine(wanted, vm_name, namespace))
        except BaseException:
            for secret in kept:
                with contextlib.suppress(StatusError):
                    await caller.kube.delete(SECRETS, name_of(secret), namespace)
            raise
        for secret in kept:
            patch = {"metadata": {"ownerReferences": [owner_reference(made, controller=False, block_deletion=False)]}}
            await caller.kube.patch(SECRETS, name_of(secret), patch, namespace)
        return made


def fits(flavor: Flavor, image: Object) -> None:
    """Raise ApiError 400 unless the image's needs fit the flavor and its content is there."""
    spec, status = image["spec"], image.get("status") or {}
    if status.get("state") != "active":
        raise ApiError(400, f"Image {name_of(image)} is not active.")
    if spec.get("diskFormat") not in ("raw", "qcow2"):
        raise ApiError(400, f"Image {name_of(image)} is unacceptable: a server boots from raw or qcow2.")
    if spec.get("minRAM", 0) > flavor.ram:
        raise ApiError(400, "Flavor's memory is too small for requested image.")
    if flavor.disk:
        size, room = status.get("virtualSize") or status.get("size") or 0, flavor.disk << 30
        if size > room:
            raise ApiError(
                400,
                f"Flavor's disk is too small for requested image. Flavor disk is {room} bytes, image is {size} bytes.",
            )
        if spec.get("minDisk", 0) > flavor.disk:
            least = spec["minDisk"] << 30
            raise ApiError(
                400,
                "Flavor's disk is smaller than the minimum size specified in image metadata. "
                f"Flavor disk is {room} bytes, minimum size is {least} bytes.",
            )


def _usable(image: Object, caller: Caller) -> bool:
    spec = image["spec"]
    own = caller.project is not None and namespace_of(image) == caller.project.namespace
    members = spec.get("members") or {}
    shared = spec.get("visibility") == "shared" and caller.project is not None and caller.project.id in members
    return own or caller.is_admin or spec.get("visibility") in ("public", "community") or shared


def _image_reference(given: dict[str, Any]) -> str:
    """The image to boot from; also from the one block device that says the same."""
    reference = str(given.get("imageRef") or "").rstrip("/").rsplit("/", 1)[-1]
    for device in given.get("block_device_mapping_v2") or ():
        if (
            device.get("source_type") != "image"
            or device.get("destination_type") != "local"
            or (reference and device.get("uuid") != reference)
        ):
            raise ApiError(400, "Block Device Mapping is Invalid: only the image itself can be booted from.")
        reference = str(device.get("uuid", ""))
    if not reference:
        raise ApiError(400, "Invalid imageRef provided.")
    return reference


def _user_data(text: str | None) -> bytes:
    if not text:
        return b""
    if len(text) > _USER_DATA_LIMIT:
        raise ApiError(
            400, f"Invalid input for field/attribute user_data. Value: {text[:40]}.... {text[:40]!r}... is too long"
        )
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ApiError(
            400, f"Invalid input for field/attribute user_data. Value: {text[:200]}. {text[:200]!r} is not a 'base64'"
        ) from None


def _networked(networks: Any) -> bool:
    """Whether the server gets the pods' network. There is no other so far."""
    if isinstance(networks, str):
        if networks not in ("auto", "none"):
            why = f"{networks!r} is not one of ['none', 'auto']"
            raise ApiError(400, f"Invalid input for field/attribute networks. Value: {networks}. {why}")
        return networks == "auto"
    for network in networks or ():
        if "port" in network or "fixed_ip" in network:
            raise ApiError(400, "Ports and fixed addresses are not supported.")
        if network.get("uuid") != POD_NETWORK:
            raise ApiError(400, f"Network {network.get('uuid')} could not be found.")
    return True
