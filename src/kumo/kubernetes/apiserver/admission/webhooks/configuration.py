"""Webhook configurations, read once: what `admissionregistration.k8s.io/v1` says of each webhook."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kumo.api.objects import Object, name_of
from kumo.kubernetes.apiserver.admission.conditions import Conditions
from kumo.kubernetes.apiserver.admission.matching import Rule, parse_rules
from kumo.kubernetes.apiserver.admission.selection import LabelSelector, compact
from kumo.kubernetes.apiserver.outbound.client_config import ClientConfig, read_client


@dataclass(frozen=True, slots=True, eq=False)
class Webhook:
    """One webhook. `uid` tells it from all others; times are seconds."""

    uid: str
    configuration: str
    name: str
    client: ClientConfig
    rules: tuple[Rule, ...]
    exact: bool
    namespaces: LabelSelector | None
    objects: LabelSelector | None
    ignores_failures: bool
    side_effects: str
    timeout: float
    versions: tuple[str, ...]
    reinvocable: bool = False
    conditions: Conditions | None = field(default=None)


def parse(configuration: Object) -> list[Webhook]:
    """The webhooks of a configuration, in order."""
    seen: dict[str, int] = {}
    found = []
    for item in configuration.get("webhooks") or ():
        # Names may repeat in objects older than the check: a number tells them apart.
        number = seen[item["name"]] = seen.get(item["name"], -1) + 1
        found.append(_webhook(name_of(configuration), item, number))
    return found


def _webhook(configuration: str, item: Mapping[str, Any], number: int) -> Webhook:
    ignores = item.get("failurePolicy") == "Ignore"
    conditions = item.get("matchConditions") or ()
    return Webhook(
        f"{configuration}/{item['name']}/{number}",
        configuration,
        item["name"],
        read_client(item.get("clientConfig") or {}),
        parse_rules(item.get("rules")),
        item.get("matchPolicy") == "Exact",
        compact(item.get("namespaceSelector")),
        compact(item.get("objectSelector")),
        ignores,
        item.get("sideEffects") or "Unknown",
        float(item.get("timeoutSeconds") or 10),
        tuple(item.get("admissionReviewVersions") or ()),
        item.get("reinvocationPolicy") == "IfNeeded",
        Conditions(conditions, ignores_failures=ignores) if conditions else None,
    )
