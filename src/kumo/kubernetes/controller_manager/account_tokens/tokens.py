"""The tokens controller: token Secrets are filled, and go with their service account."""

from __future__ import annotations

from kumo.api.errors import StatusError, is_conflict, is_not_found
from kumo.api.objects import Key, Object, annotations_of, is_deleting, uid_of
from kumo.api.resources import SECRETS, SERVICEACCOUNTS
from kumo.kubernetes.controller_manager.account_tokens.secrets import (
    ACCOUNT_NAME,
    TYPE,
    belongs_to,
    claims,
    filled,
    missing,
)
from kumo.machinery.client import Client
from kumo.machinery.controller import Controller
from kumo.machinery.informer import Informers
from kumo.machinery.signing_keys import SigningKey


class TokensController:
    """Looks after each token Secret; `root_ca` (PEM text) goes into it, `key` signs its token."""

    name = "serviceaccount-token-controller"

    def __init__(self, client: Client, informers: Informers, key: SigningKey, root_ca: str = "") -> None:
        self._client = client
        self._key = key
        self._root_ca = root_ca
        self._secrets = informers.informer(SECRETS, field_selector=f"type={TYPE}")
        self._accounts = informers.informer(SERVICEACCOUNTS)
        self._secrets.add_index("account", lambda o: [_account_key(o)])
        self._controller = Controller(self.name, self._reconcile, workers=2)
        self._controller.watch(self._secrets)
        self._controller.watch(self._accounts, self._secrets_of)

    async def run(self) -> None:
        """Run until cancelled."""
        await self._controller.run()

    def _secrets_of(self, account: Object) -> list[Key]:
        meta = account["metadata"]
        found = self._secrets.by_index("account", f"{meta['namespace']}/{meta['name']}")
        return [Key(s["metadata"]["namespace"], s["metadata"]["name"]) for s in found]

    async def _reconcile(self, key: Key) -> float | None:
        secret = self._secrets.get_key(key)
        if secret is None:
            await self._forget(key)
            return None
        if is_deleting(secret):
            return None
        account = await self._account(secret, key.namespace)
        try:
            if account is None:
                await self._client.delete(SECRETS, key.name, key.namespace, uid=uid_of(secret))
            elif missing(secret, self._root_ca):
                token = self._key.sign(claims(account, secret)) if "token" in missing(secret, self._root_ca) else ""
                await self._client.update(SECRETS, filled(secret, account, self._root_ca, token))
        except StatusError as error:
            # A newer state of the secret comes by itself.
            if not is_not_found(error) and not is_conflict(error):
                raise
        return None

    async def _forget(self, key: Key) -> None:
        """No account lists a token secret that is gone."""
        for account in self._accounts.objects(key.namespace):
            listed = account.get("secrets") or []
            kept = [r for r in listed if r.get("name") != key.name]
            if len(kept) < len(listed):
                try:
                    await self._client.update(SERVICEACCOUNTS, {**account, "secrets": kept})
                except StatusError as error:
                    if not is_not_found(error):
                        raise

    async def _account(self, secret: Object, namespace: str) -> Object | None:
        """The account that the secret names; asked for before the secret is taken for an orphan."""
        name = annotations_of(secret).get(ACCOUNT_NAME) or ""
        found = self._accounts.get(name, namespace)
        if found is None or not belongs_to(secret, found):
            try:
                found = await self._client.get(SERVICEACCOUNTS, name, namespace) if name else None
            except StatusError as error:
                if not is_not_found(error):
                    raise
                found = None
        return found if found is not None and belongs_to(secret, found) else None


def _account_key(secret: Object) -> str:
    return f"{secret['metadata'].get('namespace')}/{annotations_of(secret).get(ACCOUNT_NAME)}"
