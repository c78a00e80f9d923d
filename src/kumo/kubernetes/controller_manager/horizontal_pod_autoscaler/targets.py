"""The targets of autoscalers: anything with a scale subresource."""

from __future__ import annotations

import asyncio

from kumo.api.errors import StatusError, is_conflict
from kumo.api.objects import Object
from kumo.api.resources import GVR
from kumo.api.selectors import parse_label_selector
from kumo.kubernetes.controller_manager.discovery import Discovery
from kumo.kubernetes.controller_manager.horizontal_pod_autoscaler.sources import resource_of
from kumo.machinery.client import Client

_ATTEMPTS = 5
_PAUSE = 0.01
_UNCONVERTIBLE = (
    "received an object from a /scale endpoint which was not convertible to autoscaling Scale: "
    'failed to parse target selector: couldn\'t parse the selector string "{text}": {error}'
)


class NoTarget(Exception):
    """There is no such scale; the text is upstream's."""


class UnknownKind(NoTarget):
    """Nobody serves the target's kind, as far as is known."""


async def read(client: Client, discovery: Discovery, reference: Object, namespace: str) -> tuple[GVR, Object]:
    """The resource and the scale of an autoscaler's `scaleTargetRef`. Raises NoTarget."""
    version = reference.get("apiVersion") or ""
    if version.count("/") > 1:
        raise NoTarget(f"unexpected GroupVersion string: {version}")
    group, kind = version.rpartition("/")[0], reference.get("kind", "")
    gvr = resource_of(discovery, group, kind)
    if gvr is None:
        raise UnknownKind(f'no matches for kind "{kind}" in group "{group}"')
    try:
        scale = await client.get(gvr, reference["name"], namespace, subresource="scale")
    except StatusError as error:
        raise NoTarget(str(error)) from error
    text = (scale.get("status") or {}).get("selector") or ""
    try:
        parse_label_selector(text)
    except ValueError as error:
        raise NoTarget(_UNCONVERTIBLE.format(text=text, error=error)) from error
    return gvr, scale


async def resize(client: Client, gvr: GVR, scale: Object, replicas: int) -> None:
    """Write the size, over what others write meanwhile. Raises StatusError."""
    name, namespace = scale["metadata"]["name"], scale["metadata"].get("namespace") or ""
    for attempt in range(_ATTEMPTS):
        scale["spec"] = {**(scale.get("spec") or {}), "replicas": replicas}
        try:
            await client.update(gvr, scale, subresource="scale")
        except StatusError as error:
            if not is_conflict(error) or attempt == _ATTEMPTS - 1:
                raise
        else:
            return
        await asyncio.sleep(_PAUSE * 2**attempt)
        scale = await client.get(gvr, name, namespace, subresource="scale")
