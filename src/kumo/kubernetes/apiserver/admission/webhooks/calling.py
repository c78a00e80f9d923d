"""One call of a webhook: the review posted, the answer read (bounded), failures told as upstream tells them."""

from __future__ import annotations

from typing import Any

import msgspec

from kumo.api.objects import Object
from kumo.kubernetes.apiserver.admission.webhooks.configuration import Webhook
from kumo.kubernetes.apiserver.admission.webhooks.reviews import BadAnswer, Verdict, check_answer, verdict
from kumo.kubernetes.apiserver.outbound.connections import Connections
from kumo.kubernetes.apiserver.outbound.posting import PostFailed, Unusable, post

LIMIT = 16 << 20
"""Bytes of an answer that are read; objects and their patches are smaller."""
_ENCODE = msgspec.json.Encoder().encode
_DECODE = msgspec.json.Decoder().decode


class CallFailed(Exception):
    """The webhook could not be asked, or its answer is none; the message is what follows `failed calling webhook`."""


async def call(connections: Connections, webhook: Webhook, review: Object, *, mutating: bool) -> Verdict:
    """Ask the webhook. Raises CallFailed."""
    version = review["apiVersion"].rpartition("/")[2]
    try:
        body = await post(connections, webhook.client, _ENCODE(review), timeout=webhook.timeout, limit=LIMIT)
        answer = check_answer(_decoded(body), version)
    except Unusable as error:
        raise CallFailed(f"could not get REST client: {error}") from None
    except (PostFailed, BadAnswer) as error:
        raise CallFailed(f"failed to call webhook: {error}") from error
    try:
        return verdict(answer, review, mutating=mutating)
    except BadAnswer as error:
        raise CallFailed(f"received invalid webhook response: {error}") from None


def _decoded(body: bytes) -> Any:
    try:
        return _DECODE(body)
    except msgspec.DecodeError:
        # Upstream reads JSON or YAML; what is neither an object nor JSON is a text to it.
        return body.decode(errors="replace")
    except RecursionError:
        raise BadAnswer("exceeded max depth") from None
