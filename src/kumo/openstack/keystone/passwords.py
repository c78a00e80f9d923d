"""Passwords: argon2id hashes in Secrets, checked in threads, few at a time, as slowly for users that don't exist."""

from __future__ import annotations

import asyncio
import base64

import argon2

from kumo.api.errors import StatusError, is_not_found
from kumo.api.resources import SECRETS
from kumo.machinery.client import Client
from kumo.openstack.common.names import SYSTEM_NAMESPACE, USER

_KEY = "hash"
_AT_ONCE = 2
_LONGEST = 4096


class Passwords:
    """The password hashes of users, by id. RFC 9106, second parameter set scaled down to 19 MiB (OWASP's minimum)."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._hasher = argon2.PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._nobody = ""

    async def set(self, user_id: str, password: str) -> None:
        """Keep the hash of the user's password."""
        async with self._gate:
            text = await asyncio.to_thread(self._hasher.hash, password)
        data = {_KEY: base64.b64encode(text.encode()).decode()}
        meta = {"name": _name(user_id), "namespace": SYSTEM_NAMESPACE, "labels": {USER: user_id}}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "kumo.dev/password", "data": data}
        try:
            await self._client.patch(SECRETS, _name(user_id), {"data": data}, SYSTEM_NAMESPACE)
        except StatusError as error:
            if not is_not_found(error):
                raise
            await self._client.create(SECRETS, secret)

    async def matches(self, user_id: str, password: str) -> bool:
        """Whether that is the user's password; takes as long for an empty id or a user without one."""
        stored = await self._stored(user_id) if user_id else ""
        if not self._nobody:
            self._nobody = await asyncio.to_thread(self._hasher.hash, "nobody has this password")
        async with self._gate:
            right = await asyncio.to_thread(self._verify, stored or self._nobody, password[:_LONGEST])
        return right and bool(stored)

    async def forget(self, user_id: str) -> None:
        """Remove the user's password."""
        try:
            await self._client.delete(SECRETS, _name(user_id), SYSTEM_NAMESPACE)
        except StatusError as error:
            if not is_not_found(error):
                raise

    async def _stored(self, user_id: str) -> str:
        try:
            secret = await self._client.get(SECRETS, _name(user_id), SYSTEM_NAMESPACE)
        except StatusError as error:
            if is_not_found(error) or error.code in (400, 422):
                return ""
            raise
        return base64.b64decode((secret.get("data") or {}).get(_KEY, "")).decode()

    def _verify(self, stored: str, password: str) -> bool:
        try:
            return bool(self._hasher.verify(stored, password))
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False


def _name(user_id: str) -> str:
    return f"password-{user_id}"
