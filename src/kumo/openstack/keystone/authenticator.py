"""From a token to a caller: is it ours, not revoked, its user and scope there and enabled, and which roles now."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Object, name_of, uid_of
from kumo.api.users import AUTHENTICATED_GROUP, UserInfo
from kumo.machinery.client import Client
from kumo.openstack.common import names
from kumo.openstack.common.caller import Caller, Project
from kumo.openstack.keystone.directory import Directory, project_domain, username_of
from kumo.openstack.keystone.kinds import with_implied
from kumo.openstack.keystone.tokens import Token, Tokens

CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"
PROJECT_ID = f"{names.PREFIX}/project-id"


@dataclass(frozen=True, slots=True)
class Proof:
    """A valid token, with what it stands for now. `roles` has the implied ones too; empty for an unscoped token."""

    token: Token
    user: Object
    roles: frozenset[str]
    namespace: Object | None = None
    domain: Object | None = None


class Authenticator:
    """Checks tokens. `client_for` makes the client that acts as a user towards the API server."""

    def __init__(
        self, directory: Directory, client_for: Callable[[UserInfo], Client], clock: Callable[[], float] = time.time
    ) -> None:
        self._directory = directory
        self._client_for = client_for
        self._clock = clock
        self.tokens: Tokens | None = None
        """Set once the signing key is there; before, no token proves anything."""

    async def prove(self, text: str) -> Proof | None:
        """What the token stands for; None if for nothing (any more)."""
        token = self.tokens.read(text) if self.tokens else None
        if token is None or await self._revoked(token):
            return None
        return await self.check(token)

    async def check(self, token: Token) -> Proof | None:
        """User, scope and roles of a token just read or just issued; None when one of them is gone or disabled."""
        directory = self._directory
        user = await directory.user(token.user_id)
        if user is None or not await usable(directory, user):
            return None
        if token.issued < user["spec"].get("tokensValidAfter", 0):
            return None
        if token.project:
            namespace = await directory.namespace(*token.project)
            if namespace is None or not project_enabled(namespace):
                return None
            roles = with_implied(await directory.roles_in(user, name_of(namespace)))
            return Proof(token, user, frozenset(roles), namespace) if roles else None
        if token.domain or token.system:
            domain = await directory.domain(token.domain) if token.domain else None
            if token.domain and (domain is None or not domain["spec"].get("enabled", True)):
                return None
            roles = with_implied(await directory.roles_beyond(user, domain=token.domain, system=token.system))
            return Proof(token, user, frozenset(roles), None, domain) if roles else None
        return Proof(token, user, frozenset())

    async def caller(self, text: str) -> Caller | None:
        """The caller whom the token proves (`common.caller.Authenticate`)."""
        proof = await self.prove(text)
        if proof is None:
            return None
        info, token = user_info(proof), proof.token
        project = None
        if proof.namespace is not None:
            space = proof.namespace
            project = Project(names.hex_id(space), names.display_name(space), name_of(space), project_domain(space))
        return Caller(
            token.user_id,
            proof.user["spec"]["name"],
            info,
            proof.roles,
            self._client_for(info),
            project,
            token.domain,
            token.system,
            text,
        )

    async def kubernetes_user(self, text: str) -> UserInfo | None:
        """The user that the token proves to the API server (`kumo.machinery.extension.TokenAuthenticator`)."""
        proof = await self.prove(text)
        return user_info(proof) if proof else None

    async def revoke(self, token: Token) -> None:
        """Make the token void, and forget revocations of tokens that are over anyway."""
        client, now = self._directory.client, self._clock()
        name = _revocation(token.audit_ids[0])
        made = {"apiVersion": names.REVOCATIONS.api_version, "kind": "Revocation", "metadata": {"name": name}}
        try:
            await client.create(names.REVOCATIONS, {**made, "spec": {"expiresAt": token.expires}})
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise
        for old in (await client.list(names.REVOCATIONS)).items:
            if old["spec"].get("expiresAt", 0) < now:
                await client.delete(names.REVOCATIONS, name_of(old), uid=uid_of(old))

    async def _revoked(self, token: Token) -> bool:
        try:
            await self._directory.client.get(names.REVOCATIONS, _revocation(token.audit_ids[0]))
        except StatusError as error:
            if is_not_found(error):
                return False
            raise
        return True


async def usable(directory: Directory, user: Object) -> bool:
    """Whether the user and the user's domain are enabled."""
    if not user["spec"].get("enabled", True):
        return False
    domain = await directory.domain(user["spec"].get("domainID") or names.DEFAULT_DOMAIN)
    return domain is not None and bool(domain["spec"].get("enabled", True))


def project_enabled(namespace: Object) -> bool:
    """Whether the project may be used."""
    annotations = namespace["metadata"].get("annotations") or {}
    return str(annotations.get(names.ENABLED)) != "false"


def user_info(proof: Proof) -> UserInfo:
    """Who the token's holder is to Kubernetes: the user, and a cloud administrator if the token's scope says so."""
    groups = (names.ADMINS_GROUP, AUTHENTICATED_GROUP) if "admin" in proof.roles else (AUTHENTICATED_GROUP,)
    extra = {CREDENTIAL_ID: (f"keystone:{proof.token.audit_ids[0]}",)}
    if proof.namespace is not None:
        extra[PROJECT_ID] = (names.hex_id(proof.namespace),)
    return UserInfo(username_of(proof.user), groups, proof.token.user_id, extra)


def _revocation(audit_id: str) -> str:
    return hashlib.sha256(audit_id.encode()).hexdigest()[:40]
