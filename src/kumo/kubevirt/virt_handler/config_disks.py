"""Config maps and Secrets that a VMI has as disks: their files, for an ISO image (upstream: `pkg/config`)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kumo.api.errors import StatusError
from kumo.api.objects import Object, namespace_of
from kumo.api.resources import CONFIGMAPS, SECRETS
from kumo.machinery.client import Client

_LABEL = "cfgdata"


@dataclass(frozen=True, slots=True)
class Contents:
    """The files of one image, and its volume label."""

    files: Mapping[str, bytes]
    label: str


async def contents(client: Client, vmi: Object) -> dict[str, Contents]:
    """The contents of each such volume that is a disk, by its name.

    Raises ValueError when a config map or Secret is missing and not optional, and for kinds that are not supported.
    """
    disks = {d["name"] for d in (vmi["spec"]["domain"].get("devices") or {}).get("disks") or ()}
    found: dict[str, Contents] = {}
    for volume in vmi["spec"].get("volumes") or ():
        if volume["name"] not in disks:
            continue
        if (source := volume.get("configMap")) is not None:
            body = await _get(client, CONFIGMAPS, source["name"], vmi, source)
            files = {k: v.encode() for k, v in (body.get("data") or {}).items()}
            files |= {k: base64.b64decode(v) for k, v in (body.get("binaryData") or {}).items()}
        elif (source := volume.get("secret")) is not None:
            body = await _get(client, SECRETS, source["secretName"], vmi, source)
            files = {k: base64.b64decode(v) for k, v in (body.get("data") or {}).items()}
        elif volume.get("serviceAccount") is not None or volume.get("downwardAPI") is not None:
            raise ValueError(f"volume {volume['name']}: serviceAccount and downwardAPI disks are not supported")
        else:
            continue
        found[volume["name"]] = Contents(files, source.get("volumeLabel") or _LABEL)
    return found


async def _get(client: Client, gvr: Any, name: str, vmi: Object, source: Mapping[str, Any]) -> Object:
    try:
        return await client.get(gvr, name, namespace_of(vmi))
    except StatusError as error:
        if error.code != 404:
            raise
        if source.get("optional"):
            return {}
        raise ValueError(f'{gvr.resource} "{name}" not found') from None
