"""Servers from the API server's objects: one by id, or all that a caller sees."""

from __future__ import annotations

from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Object, key_of, name_of, namespace_of
from kumo.api.resources import NAMESPACES, VMIS, VMS
from kumo.machinery.client import Client
from kumo.openstack.common import names
from kumo.openstack.common.caller import Caller
from kumo.openstack.common.errors import ApiError
from kumo.openstack.common.lookup import ByUid
from kumo.openstack.nova.flavors import Flavor, all_flavors
from kumo.openstack.nova.servers.view import Server


class Servers:
    """Finds servers; `client` may do everything, and whom a server is shown to is decided here."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._by_uid = ByUid(VMS)

    async def vm(self, caller: Caller, identity: str) -> Object:
        """The machine of that id, if the caller may see it. Raises ApiError 404."""
        if names.is_uuid(identity):
            found = await self._by_uid.find(self.client, identity)
            if found is not None and (caller.is_admin or _inside(caller, found)):
                return found
        raise ApiError(404, f"Instance {identity} could not be found.")

    async def get(self, caller: Caller, identity: str) -> Server:
        """The server of that id. Raises ApiError 404."""
        return await self.complete(await self.vm(caller, identity))

    async def complete(self, vm: Object) -> Server:
        """A machine with all that its view needs."""
        space = await self.client.get(NAMESPACES, namespace_of(vm))
        return Server(vm, await self.instance(vm), names.hex_id(space), await self.flavors())

    async def instance(self, vm: Object) -> Object | None:
        """The machine's instance, if it has one now."""
        try:
            return await self.client.get(VMIS, name_of(vm), namespace_of(vm))
        except StatusError as error:
            if is_not_found(error):
                return None
            raise

    async def flavors(self) -> dict[str, Flavor]:
        """All flavors by instance type."""
        return {f.type_name: f for f in await all_flavors(self.client)}

    async def all(self, namespace: str = "") -> list[Server]:
        """All servers, of one namespace if given."""
        vms = (await self.client.list(VMS, namespace)).items
        vmis = {key_of(i): i for i in (await self.client.list(VMIS, namespace)).items}
        projects = {name_of(n): names.hex_id(n) for n in (await self.client.list(NAMESPACES)).items}
        flavors = await self.flavors()
        return [Server(v, vmis.get(key_of(v)), projects.get(namespace_of(v), ""), flavors) for v in vms]


def _inside(caller: Caller, vm: Object) -> bool:
    return caller.project is not None and namespace_of(vm) == caller.project.namespace
