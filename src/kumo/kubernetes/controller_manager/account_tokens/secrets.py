"""Secrets of type `kubernetes.io/service-account-token`: what they hold and what they lack. Pure."""

from __future__ import annotations

import base64
from typing import Any

from kumo.api.objects import Object, annotations_of, name_of, namespace_of, uid_of

TYPE = "kubernetes.io/service-account-token"
ACCOUNT_NAME = "kubernetes.io/service-account.name"
ACCOUNT_UID = "kubernetes.io/service-account.uid"
ISSUER = "kubernetes/serviceaccount"
_CLAIM = "kubernetes.io/serviceaccount/"


def belongs_to(secret: Object, account: Object) -> bool:
    """Whether the secret names the account (and no other of the same name)."""
    notes = annotations_of(secret)
    return notes.get(ACCOUNT_NAME) == name_of(account) and notes.get(ACCOUNT_UID, "") in ("", uid_of(account))


def claims(account: Object, secret: Object) -> dict[str, Any]:
    """What the token in the secret says; it has no end but the secret's."""
    namespace = namespace_of(account)
    return {
        "iss": ISSUER,
        f"{_CLAIM}namespace": namespace,
        f"{_CLAIM}secret.name": name_of(secret),
        f"{_CLAIM}service-account.name": name_of(account),
        f"{_CLAIM}service-account.uid": uid_of(account),
        "sub": f"system:serviceaccount:{namespace}:{name_of(account)}",
    }


def missing(secret: Object, root_ca: str) -> set[str]:
    """The keys of `data` that are not as they should be."""
    data = secret.get("data") or {}
    found = {key for key in ("token", "namespace") if not data.get(key)}
    if root_ca and data.get("ca.crt") != encoded(root_ca):
        found.add("ca.crt")
    return found


def filled(secret: Object, account: Object, root_ca: str, token: str) -> Object:
    """The secret with all that it lacks; `token` is used only where there is none."""
    lacking = missing(secret, root_ca)
    values = {"token": token, "namespace": namespace_of(secret), "ca.crt": root_ca}
    data = {**(secret.get("data") or {}), **{key: encoded(values[key]) for key in lacking}}
    notes = {**annotations_of(secret), ACCOUNT_NAME: name_of(account), ACCOUNT_UID: uid_of(account)}
    return {**secret, "metadata": {**secret["metadata"], "annotations": notes}, "data": data}


def encoded(text: str) -> str:
    """The text as `data` holds it."""
    return base64.b64encode(text.encode()).decode()
