"""OpenStack as one value: what a composition takes in, and what has to be installed first."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kumo.api.objects import Object
from kumo.api.resources import CLUSTERROLEBINDINGS, CLUSTERROLES, NAMESPACES, SECRETS
from kumo.api.users import UserInfo
from kumo.machinery.client import Client
from kumo.machinery.extension import TokenAuthenticator
from kumo.machinery.http import Answer, Request
from kumo.openstack.common import names
from kumo.openstack.common.disks import DiskStore
from kumo.openstack.common.install import ensure, ensure_definition
from kumo.openstack.common.service import Service
from kumo.openstack.glance import kinds as image_kinds
from kumo.openstack.glance.data import requeue
from kumo.openstack.glance.service import glance
from kumo.openstack.glance.store import BlobStore
from kumo.openstack.keystone import kinds
from kumo.openstack.keystone.auth import Auth
from kumo.openstack.keystone.authenticator import Authenticator
from kumo.openstack.keystone.directory import Assignment, Directory, new_id, username_of
from kumo.openstack.keystone.passwords import Passwords
from kumo.openstack.keystone.projects import Projects
from kumo.openstack.keystone.roles import Roles
from kumo.openstack.keystone.service import keystone
from kumo.openstack.keystone.tokens import Tokens
from kumo.openstack.keystone.users import Users
from kumo.openstack.nova.flavors import default_flavors
from kumo.openstack.nova.service import nova

PREFIXES = ("/identity", "/compute", "/image")
_KEY_SECRET = "identity-token-key"


@dataclass(frozen=True, slots=True)
class OpenStackConfig:
    """What the composition decides: where uploaded images lie, and the administrator's password at first start."""

    images_dir: Path
    admin_password: str
    admin_name: str = "admin"
    admin_project: str = "admin"


class OpenStack:
    """Keystone, Glance and Nova below `PREFIXES`.

    `client` may do everything; `client_for` makes the client that acts as a user, so that RBAC decides; `disks` makes
    uploaded images bootable. `install` comes first: before it every token is refused.
    """

    def __init__(
        self, config: OpenStackConfig, client: Client, client_for: Callable[[UserInfo], Client], disks: DiskStore
    ) -> None:
        self._config = config
        self._client = client
        self._directory = Directory(client)
        self._passwords = Passwords(client)
        self._authenticator = Authenticator(self._directory, client_for)
        self._users = Users(self._directory, self._passwords)
        self._blobs = BlobStore(config.images_dir)
        projects = Projects(self._directory)
        auth = Auth(self._directory, self._passwords, self._authenticator)
        roles = Roles(self._directory, self._users, projects)
        caller = self._authenticator.caller
        services = (
            keystone(caller, auth, self._users, projects, roles),
            glance(caller, client, self._blobs, disks),
            nova(caller, client, config.images_dir, disks),
        )
        self.services: dict[str, Service] = {s.prefix: s for s in services}
        self.authenticate_token: TokenAuthenticator = self._authenticator.kubernetes_user

    async def handler(self, request: Request) -> Answer:
        """Serve a request whose path begins with one of `PREFIXES`."""
        first = "/" + request.path.split("/", 2)[1]
        return await self.services[first].handle(request)

    async def install(self) -> None:
        """Make the kinds, roles, domain, projects, administrator, flavors and the token key; idempotent."""
        client = self._client
        for definition in (*kinds.definitions(), *image_kinds.definitions()):
            await ensure_definition(client, definition)
        for role in kinds.ROLE_NAMES:
            await ensure(client, CLUSTERROLES, kinds.role_object(role, role))
        for obj in image_kinds.roles():
            await ensure(client, CLUSTERROLES, obj)
        await ensure(client, CLUSTERROLEBINDINGS, kinds.admins_binding())
        system = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": names.SYSTEM_NAMESPACE}}
        await ensure(client, NAMESPACES, system)
        spec = {"name": "Default", "description": "The default domain", "enabled": True}
        meta = {"name": names.DEFAULT_DOMAIN}
        domain = {"apiVersion": names.DOMAINS.api_version, "kind": "Domain", "metadata": meta, "spec": spec}
        await ensure(client, names.DOMAINS, domain)
        for flavor in default_flavors():
            await ensure(client, names.FLAVORS, flavor)
        await asyncio.to_thread(self._blobs.prepare)
        await requeue(client)
        await self._administrator()
        self._authenticator.tokens = Tokens(await self._signing_key())

    async def _signing_key(self) -> bytes:
        pem = await asyncio.to_thread(_new_key)
        meta = {"name": _KEY_SECRET, "namespace": names.SYSTEM_NAMESPACE}
        data = {"key.pem": base64.b64encode(pem).decode()}
        secret: Object = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "Opaque", "data": data}
        found = await ensure(self._client, SECRETS, secret)
        return base64.b64decode(found["data"]["key.pem"])

    async def _administrator(self) -> None:
        """The project and user `admin`, once; the password in the configuration is the one that counts."""
        config, directory = self._config, self._directory
        space = await directory.project_by_name(config.admin_project, names.DEFAULT_DOMAIN)
        if space is None:
            notes = {
                names.NAME: config.admin_project,
                names.DESCRIPTION: "Bootstrap project for initializing the cloud.",
            }
            space = await self._client.create(NAMESPACES, kinds.namespace_object(f"p-{new_id()}", notes))
        user = await directory.user_by_name(config.admin_name, names.DEFAULT_DOMAIN)
        if user is None:
            user = await self._users.add({"name": config.admin_name, "password": config.admin_password})
        elif not await self._passwords.matches(user["metadata"]["name"], config.admin_password):
            await self._passwords.set(user["metadata"]["name"], config.admin_password)
        name = username_of(user)
        for namespace in (space["metadata"]["name"], "default"):
            await directory.assign(Assignment(name, "admin", namespace))
        await directory.assign(Assignment(name, "admin", system=True))


def _new_key() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def clouds_yaml(url: str, password: str, cacert: Path, *, name: str = "kumo", project: str = "admin") -> str:
    """The text of a clouds.yaml with which OpenStack clients find the cloud at `url` and trust its certificate."""
    return f"""clouds:
  {name}:
    auth:
      auth_url: {url}/identity/v3
      username: admin
      password: {password}
      project_name: {project}
      user_domain_id: {names.DEFAULT_DOMAIN}
      project_domain_id: {names.DEFAULT_DOMAIN}
    region_name: RegionOne
    identity_api_version: 3
    verify: true
    cacert: {cacert}
"""
