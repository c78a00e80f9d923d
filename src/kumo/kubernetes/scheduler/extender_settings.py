"""How an HTTP extender is reached and what it is asked (`extenders` of a KubeSchedulerConfiguration). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kumo.kubernetes.scheduler.settings import SettingsError, fields_of, flag, integer, items, known_fields, text_of

_FIELDS = [
    "urlPrefix",
    "filterVerb",
    "preemptVerb",
    "prioritizeVerb",
    "weight",
    "bindVerb",
    "enableHTTPS",
    "tlsConfig",
    "httpTimeout",
    "nodeCacheCapable",
    "managedResources",
    "ignorable",
]
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class ExtenderSettings:
    """One extender; empty verbs are not asked.

    `managed` resources are those of the pods it is interested in (none: all pods), `unfitted` the ones that the
    scheduler itself leaves to it. Files are PEM, `timeout` is in seconds.
    """

    url: str
    filter_verb: str = ""
    preempt_verb: str = ""
    prioritize_verb: str = ""
    bind_verb: str = ""
    weight: int = 1
    timeout: float = 5.0
    node_cache: bool = False
    ignorable: bool = False
    managed: frozenset[str] = frozenset()
    unfitted: frozenset[str] = frozenset()
    ca: str = ""
    cert: str = ""
    key: str = ""
    server_name: str = ""
    insecure: bool = False


def read_extender(body: Mapping[str, Any], where: str) -> ExtenderSettings:
    """The settings in an entry. Raises SettingsError."""
    known_fields(body, _FIELDS, where)
    url = text_of(body, "urlPrefix", where)
    if not re.match(r"https?://[^/]+", url):
        raise SettingsError(f"{where}.urlPrefix: {url!r} is no http:// or https:// URL")
    prioritize = text_of(body, "prioritizeVerb", where)
    weight = integer(body, "weight", 1, 0, 1 << 31)
    if prioritize and weight <= 0:
        raise SettingsError(f"{where}.weight: must have a positive weight applied to it")
    tls = fields_of(body.get("tlsConfig") or {}, f"{where}.tlsConfig")
    known_fields(tls, ("insecure", "serverName", "certFile", "keyFile", "caFile"), f"{where}.tlsConfig")
    resources = [fields_of(r, f"{where}.managedResources") for r in items(body, "managedResources", where)]
    if flag(body, "enableHTTPS", where) and url.startswith("http://"):
        url = "https://" + url.removeprefix("http://")
    return ExtenderSettings(
        url.rstrip("/"),
        filter_verb=text_of(body, "filterVerb", where),
        preempt_verb=text_of(body, "preemptVerb", where),
        prioritize_verb=prioritize,
        bind_verb=text_of(body, "bindVerb", where),
        weight=weight,
        timeout=_duration(body.get("httpTimeout"), f"{where}.httpTimeout"),
        node_cache=flag(body, "nodeCacheCapable", where),
        ignorable=flag(body, "ignorable", where),
        managed=frozenset(text_of(r, "name", where) for r in resources),
        unfitted=frozenset(text_of(r, "name", where) for r in resources if flag(r, "ignoredByScheduler", where)),
        ca=text_of(tls, "caFile", where),
        cert=text_of(tls, "certFile", where),
        key=text_of(tls, "keyFile", where),
        server_name=text_of(tls, "serverName", where),
        insecure=flag(tls, "insecure", where),
    )


def _duration(value: Any, where: str) -> float:
    """A Go duration (`1m30s`) in seconds; 5 s without one."""
    if value is None or value == "":
        return 5.0
    parts = re.findall(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)", str(value))
    if not parts or "".join(n + u for n, u in parts) != str(value):
        raise SettingsError(f"{where}: {value!r} is no duration, such as 500ms or 5s")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)
