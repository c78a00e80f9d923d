"""Which webhooks a request may concern: looked up by what it asks, worked out anew only when configurations change."""

from __future__ import annotations

from typing import NamedTuple

import structlog

from kumo.api.objects import name_of
from kumo.api.resources import GVR
from kumo.kubernetes.apiserver.admission.equivalents import Equivalents
from kumo.kubernetes.apiserver.admission.matching import Asked, Target, find_target
from kumo.kubernetes.apiserver.admission.webhooks.configuration import Webhook, parse
from kumo.kubernetes.apiserver.attributes import Reader

_log = structlog.get_logger("kumo.admission")
_REMEMBERED = 4096


class Candidate(NamedTuple):
    """A webhook whose rules match, how it sees the request, and its place among all webhooks."""

    webhook: Webhook
    target: Target
    position: int


class WebhookIndex:
    """The webhooks of one kind of configuration, ordered by configuration name and place in it."""

    def __init__(self, gvr: GVR, reader: Reader, equivalents: Equivalents) -> None:
        self._gvr = gvr
        self._reader = reader
        self._equivalents = equivalents
        self._revision = -1
        self._parsed: dict[str, tuple[str, list[Webhook]]] = {}
        """By configuration: its version, and its webhooks (which keep their compiled conditions)."""
        self._webhooks: list[Webhook] = []
        self._generation = -1
        self._found: dict[Asked, tuple[Candidate, ...]] = {}
        self.stale = True
        """Set when a configuration has changed."""

    def __bool__(self) -> bool:
        """Whether there is any webhook."""
        if self.stale:
            self._refresh()
        return bool(self._webhooks)

    def candidates(self, question: Asked) -> tuple[Candidate, ...]:
        """The webhooks whose rules match, in order."""
        if self.stale:
            self._refresh()
        if self._generation != self._equivalents.generation or len(self._found) > _REMEMBERED:
            self._generation, self._found = self._equivalents.generation, {}
        found = self._found.get(question)
        if found is None:
            found = self._found[question] = self._find(question)
        return found

    def _find(self, question: Asked) -> tuple[Candidate, ...]:
        found = []
        for position, webhook in enumerate(self._webhooks):
            target = find_target(webhook.rules, question, None if webhook.exact else self._equivalents)
            if target is not None:
                found.append(Candidate(webhook, target, position))
        return tuple(found)

    def _refresh(self) -> None:
        self.stale = False
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
        self._webhooks = [webhook for _, webhooks in parsed.values() for webhook in webhooks]
        self._found = {}
