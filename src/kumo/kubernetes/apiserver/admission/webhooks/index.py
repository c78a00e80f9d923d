"""Which webhooks a request may concern; see `rule_index`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import structlog

from kumo.api.objects import name_of
from kumo.api.resources import GVR
from kumo.kubernetes.apiserver.admission.equivalents import Equivalents
from kumo.kubernetes.apiserver.admission.matching import Asked, Target, find_target
from kumo.kubernetes.apiserver.admission.rule_index import RuleIndex
from kumo.kubernetes.apiserver.admission.webhooks.configuration import Webhook, parse
from kumo.kubernetes.apiserver.attributes import Reader

_log = structlog.get_logger("kumo.admission")


class Candidate(NamedTuple):
    """A webhook whose rules match, how it sees the request, and its place among all webhooks."""

    webhook: Webhook
    target: Target
    position: int


class WebhookIndex(RuleIndex[Webhook, Candidate]):
    """The webhooks of one kind of configuration, ordered by configuration name and place in it."""

    def __init__(self, gvr: GVR, reader: Reader, equivalents: Equivalents) -> None:
        super().__init__(equivalents)
        self._gvr = gvr
        self._reader = reader
        self._parsed: dict[str, tuple[str, list[Webhook]]] = {}
        """By configuration: its version, and its webhooks (which keep their compiled conditions)."""

    def _find(self, known: Sequence[Webhook], question: Asked) -> list[Candidate]:
        found = []
        for position, webhook in enumerate(known):
            target = find_target(webhook.rules, question, None if webhook.exact else self._equivalents)
            if target is not None:
                found.append(Candidate(webhook, target, position))
        return found

    def _read(self) -> list[Webhook]:
        parsed = {}
        for configuration in sorted(self._reader.objects(self._gvr), key=name_of):
            name, version = name_of(configuration), configuration["metadata"].get("resourceVersion") or ""
            known = self._parsed.get(name)
            if known is None or known[0] != version or not version:
                try:
                    known = (version, parse(configuration))
                except Exception:
                    _log.exception("a webhook configuration can't be read", name=name)
                    continue
            parsed[name] = known
        self._parsed = parsed
        return [webhook for _, webhooks in parsed.values() for webhook in webhooks]
