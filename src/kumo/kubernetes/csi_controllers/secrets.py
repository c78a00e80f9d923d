"""The secrets that a driver's classes name, and what is in them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from kumo.api.errors import StatusError
from kumo.api.resources import SECRETS
from kumo.api.volume_secrets import (
    FS_TYPE,
    KINDS,
    PREFIX,
    SecretError,
    driver_parameters,
    reference,
    snapshot_reference,
)
from kumo.machinery.client import Client

__all__ = [
    "FS_TYPE",
    "KINDS",
    "PREFIX",
    "SecretError",
    "driver_parameters",
    "read",
    "reference",
    "snapshot_reference",
]


async def read(client: Client, ref: Mapping[str, Any] | None) -> dict[str, str]:
    """The contents of a secret, for the driver. Raises SecretError."""
    if not ref:
        return {}
    try:
        secret = await client.get(SECRETS, ref["name"], ref["namespace"])
    except StatusError as error:
        text = f"error getting secret {ref['name']} in namespace {ref['namespace']}: {error}"
        raise SecretError(text) from None
    data = secret.get("data") or {}
    return {key: base64.b64decode(value).decode(errors="replace") for key, value in data.items()}
