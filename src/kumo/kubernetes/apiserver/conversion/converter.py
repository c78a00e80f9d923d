"""The webhook of one definition: objects posted to it in batches, what it answers checked one by one."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import Any

import msgspec

from kumo.api.errors import StatusError
from kumo.api.objects import Object, name_of, new_uid
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.conversion.metrics import ConversionMetrics
from kumo.kubernetes.apiserver.conversion.review import (
    CALL,
    KNOWN_VERSIONS,
    PARTIAL,
    BadReview,
    check_object,
    converted_objects,
    failed,
    question,
)
from kumo.kubernetes.apiserver.outbound.client_config import ClientConfig, read_client
from kumo.kubernetes.apiserver.outbound.connections import Connections
from kumo.kubernetes.apiserver.outbound.posting import PostFailed, Refused, TimedOut, Unusable, post

TIMEOUT = 30.0
"""Seconds for a call (upstream's for every webhook's client)."""
LIMIT = 32 << 20
"""Bytes of an answer that are read."""
BATCH_OBJECTS = 250
BATCH_BYTES = 1 << 20
_AT_ONCE = 4
_encode = msgspec.json.Encoder().encode


class Converter:
    """Converts the objects of a definition whose conversion is a webhook's."""

    def __init__(self, definition: Object, connections: Connections, metrics: ConversionMetrics) -> None:
        spec = definition["spec"]
        webhook = spec["conversion"]["webhook"]
        self._name = name_of(definition)
        self._group, self._kind = spec["group"], spec["names"]["kind"]
        self._client = _client(webhook["clientConfig"])
        self._version = next((v for v in webhook["conversionReviewVersions"] if v in KNOWN_VERSIONS), "")
        self._connections = connections
        self._metrics = metrics

    async def convert(
        self, objects: Sequence[Object], version: str, sizes: Sequence[int] | None = None
    ) -> list[Object]:
        """The objects, none of which is in that version yet, in it; nothing is pruned and no default set.

        Many are sent in few calls; `sizes` are about their lengths as JSON, in bytes. Raises the ConversionFailed of
        the first that can't be converted.
        """
        batches = list(_batches(objects, sizes or [0] * len(objects)))
        if len(batches) == 1:
            return await self._batch(batches[0], version)
        free = asyncio.Semaphore(_AT_ONCE)

        async def one(batch: list[Object]) -> list[Object]:
            async with free:
                return await self._batch(batch, version)

        found = await asyncio.gather(*(one(batch) for batch in batches), return_exceptions=True)
        converted: list[Object] = []
        for result in found:
            if isinstance(result, BaseException):
                raise result
            converted += result
        return converted

    async def _batch(self, objects: list[Object], version: str) -> list[Object]:
        try:
            return await self._call(objects, version)
        except _Failed as failure:
            if len(objects) == 1 or not failure.answered:
                raise failure.refusal from None
        # Upstream asks for one object at a time: webhooks that know no more, or refuse one object, must still work.
        found = []
        for obj in objects:
            try:
                found += await self._call([obj], version)
            except _Failed as failure:
                raise failure.refusal from None
        return found

    async def _call(self, objects: list[Object], version: str) -> list[Object]:
        """One call. Raises _Failed."""
        began, failure, answered = perf_counter(), "", False
        source = GVK(self._group, str(objects[0]["apiVersion"]).rpartition("/")[2], self._kind)
        try:
            body = await self._post(objects, version)
            answered = True
            return self._read(objects, body, version)
        except Refused as error:
            failure = CALL
            raise _Failed(_message(source, failed(str(error))), True) from None
        except Unusable as error:
            # Upstream can't even serve the definition then.
            failure = CALL
            raise _Failed(str(error), False) from None
        except TimedOut as error:
            failure = CALL
            why = f"{error} (Client.Timeout exceeded while awaiting headers)"
            raise _Failed(_message(source, failed(why)), False) from error
        except PostFailed as error:
            failure = CALL
            raise _Failed(_message(source, failed(str(error))), False) from error
        except BadReview as error:
            failure = error.kind
            raise _Failed(_message(source, error), answered) from None
        finally:
            self._metrics.observe(self._name, source.version, version, failure, perf_counter() - began)

    async def _post(self, objects: list[Object], version: str) -> tuple[str, bytes]:
        """The review's uid and the answer's body."""
        uid = new_uid()
        asked = question(self._version, uid, f"{self._group}/{version}", objects)
        return uid, await post(self._connections, self._client, _encode(asked), timeout=TIMEOUT, limit=LIMIT)

    def _read(self, objects: list[Object], answer: tuple[str, bytes], version: str) -> list[Object]:
        uid, body = answer
        found = converted_objects(_decoded(body), self._version, uid)
        if len(found) != len(objects):
            raise BadReview(f"returned {len(found)} objects, expected {len(objects)}", PARTIAL)
        wanted = f"{self._group}/{version}"
        return [check_object(before, after, wanted) for before, after in zip(objects, found, strict=True)]


class ConversionFailed(StatusError):
    """500: a webhook has not converted an object; the message says which webhook and why."""

    def __init__(self, message: str) -> None:
        super().__init__(500, "", message)


class _Failed(Exception):
    """A call without a result; `answered`: the webhook was there."""

    def __init__(self, message: str, answered: bool) -> None:
        super().__init__(message)
        self.answered = answered
        self.refusal = ConversionFailed(message)


def _message(source: GVK, error: BadReview) -> str:
    return str(error) if error.whole else f"conversion webhook for {source.api_version}, Kind={source.kind} {error}"


def _batches(objects: Sequence[Object], sizes: Sequence[int]) -> Iterator[list[Object]]:
    """The objects cut into calls of bounded size."""
    batch: list[Object] = []
    size = 0
    for obj, length in zip(objects, sizes, strict=True):
        if batch and (len(batch) >= BATCH_OBJECTS or size + length > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(obj)
        size += length
    if batch:
        yield batch


def _decoded(body: bytes) -> Any:
    """The answer's JSON. Raises BadReview."""
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        return body.decode(errors="replace")  # Upstream reads YAML too: to it, what is no object is a text.
    except RecursionError:
        raise failed("exceeded max depth", CALL) from None


def _client(config: Object) -> ClientConfig:
    """Where the webhook is. A bundle of nothing but white space counts as none, as upstream."""
    bundle = config.get("caBundle") or ""
    try:
        blank = not base64.b64decode(bundle).strip()
    except (binascii.Error, ValueError):
        blank = False
    return read_client({**config, "caBundle": "" if blank else bundle})
