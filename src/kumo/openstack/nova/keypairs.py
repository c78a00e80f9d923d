"""Key pairs: a user's SSH public keys, across all projects, as Secrets that only the services read."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from kumo.api.errors import StatusError, is_already_exists, is_not_found
from kumo.api.objects import Object, annotations_of
from kumo.api.resources import SECRETS
from kumo.machinery.client import Client
from kumo.machinery.http import Response
from kumo.openstack.common import names, paging
from kumo.openstack.common.errors import ApiError
from kumo.openstack.common.service import Call, Route, empty, reply
from kumo.openstack.common.times import without_zone
from kumo.openstack.common.validate import check

_KEY = "public-key"
_TYPE = f"{names.PREFIX}/keypair-type"
_KEYPAIR = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 255},
        "public_key": {"type": ["string", "null"]},
        "type": {"type": "string", "enum": ["ssh", "x509"]},
        "user_id": {"type": "string", "maxLength": 255},
        "key_type": {"type": "string"},
    },
    "required": ["name"],
    "additionalProperties": False,
}


def fingerprint(public_key: str) -> str:
    """The MD5 fingerprint of an OpenSSH public key. Raises ApiError 400 for anything else."""
    parts = public_key.split()
    try:
        if len(parts) < 2:
            raise ValueError
        blob = base64.b64decode(parts[1], validate=True)
        serialization.load_ssh_public_key(" ".join(parts[:2]).encode())
    except (ValueError, binascii.Error, UnsupportedAlgorithm):
        raise ApiError(400, "Keypair data is invalid: failed to generate fingerprint") from None
    digest = hashlib.md5(blob, usedforsecurity=False).hexdigest()
    return ":".join(digest[i : i + 2] for i in range(0, 32, 2))


def generate() -> tuple[str, str]:
    """A fresh pair: the private key (OpenSSH's form) and the public key."""
    key = ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return private.decode(), public.decode() + " Generated-by-Nova"


def public_key_of(secret: Object) -> str:
    """The public key that a key pair's Secret holds."""
    return base64.b64decode(secret["data"][_KEY]).decode()


class Keypairs:
    """The key pair paths; `client` may do everything."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def routes(self) -> list[Route]:
        """Its part of Nova's table."""
        return [
            Route("GET", "/v2.1/os-keypairs", self.list),
            Route("POST", "/v2.1/os-keypairs", self.create),
            Route("GET", "/v2.1/os-keypairs/{name}", self.show),
            Route("DELETE", "/v2.1/os-keypairs/{name}", self.delete),
        ]

    async def find(self, user_id: str, name: str) -> Object | None:
        """The Secret of the user's key pair, or None."""
        try:
            return await self._client.get(SECRETS, _secret_name(user_id, name), names.SYSTEM_NAMESPACE)
        except StatusError as error:
            if is_not_found(error):
                return None
            raise

    def _user(self, call: Call, given: str | None) -> str:
        if given is None or given == call.caller.user_id or not call.at_least(10):
            return call.caller.user_id
        if not call.caller.is_admin:
            raise ApiError(403, "Policy doesn't allow os_compute_api:os-keypairs to be performed.")
        return given

    async def list(self, call: Call) -> Response:
        """The caller's key pairs."""
        user = self._user(call, call.query.get("user_id"))
        selector = f"{names.USER}={user},{names.KEYPAIR}"
        found = (await self._client.list(SECRETS, names.SYSTEM_NAMESPACE, label_selector=selector)).items
        rows = [{"id": names.display_name(s), "it": s} for s in found]
        part = paging.page(paging.by_keys(rows, [("id", "asc")]), call.query if call.at_least(35) else {})
        shown = [{"keypair": _brief(row["it"], call)} for row in part.items]
        return reply({"keypairs": shown})

    async def create(self, call: Call) -> Response:
        """Import a public key, or (before 2.92) make a pair and give the private key away, once."""
        given = await call.document("keypair")
        check({"keypair": given}, {"properties": {"keypair": _KEYPAIR}})
        if given.get("type", "ssh") != "ssh":
            raise ApiError(400, "Keypair data is invalid: only ssh keys are supported.")
        user, private = self._user(call, given.get("user_id")), ""
        public: str = given.get("public_key") or ""
        if not public:
            if call.at_least(92):
                raise ApiError(400, f"Invalid input for field/attribute keypair. Value: {given}. 'public_key' is a "
                               "required property")  # fmt: skip
            private, public = await asyncio.to_thread(generate)
        mark = await asyncio.to_thread(fingerprint, public)
        meta = {
            "name": _secret_name(user, given["name"]),
            "namespace": names.SYSTEM_NAMESPACE,
            "labels": {names.USER: user, names.KEYPAIR: ""},
            "annotations": {names.NAME: given["name"], _TYPE: "ssh"},
        }
        data = {_KEY: base64.b64encode(public.strip().encode()).decode()}
        try:
            made = await self._client.create(
                SECRETS,
                {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "kumo.dev/keypair", "data": data},
            )
        except StatusError as error:
            if is_already_exists(error):
                raise ApiError(409, f"Key pair '{given['name']}' already exists.") from None
            raise
        body = {**_brief(made, call), "fingerprint": mark, "user_id": user}
        if private:
            body["private_key"] = private
        return reply({"keypair": body}, 201 if call.at_least(2) else 200)

    async def show(self, call: Call) -> Response:
        """One key pair."""
        user = self._user(call, call.query.get("user_id"))
        found = await self.find(user, call.params["name"])
        if found is None:
            raise ApiError(404, f"Keypair {call.params['name']} not found for user {user}")
        digest = int(hashlib.sha256(found["metadata"]["uid"].encode()).hexdigest()[:7], 16)
        more = {
            "user_id": user,
            "id": digest,
            "created_at": without_zone(found["metadata"]["creationTimestamp"]),
            "deleted": False,
            "deleted_at": None,
            "updated_at": None,
        }
        return reply({"keypair": {**_brief(found, call), **more}})

    async def delete(self, call: Call) -> Response:
        """Remove a key pair; servers keep the key that they got."""
        user = self._user(call, call.query.get("user_id"))
        found = await self.find(user, call.params["name"])
        if found is None:
            raise ApiError(404, f"Keypair {call.params['name']} not found for user {user}")
        await self._client.delete(SECRETS, found["metadata"]["name"], names.SYSTEM_NAMESPACE)
        return empty(204 if call.at_least(2) else 202)


def _brief(secret: Object, call: Call) -> dict[str, Any]:
    public = public_key_of(secret)
    made = {"name": names.display_name(secret), "public_key": public, "fingerprint": fingerprint(public)}
    if call.at_least(2):
        made["type"] = annotations_of(secret).get(_TYPE, "ssh")
    return made


def _secret_name(user_id: str, name: str) -> str:
    return "keypair-" + hashlib.sha256(f"{user_id}\n{name}".encode()).hexdigest()[:40]
