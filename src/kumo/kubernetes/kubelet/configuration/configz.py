"""The page `/configz`: the configuration that holds. Upstream: `component-base/configz`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from kumo.api.durations import go_text
from kumo.kubernetes.kubelet.config import KubeletConfig
from kumo.kubernetes.kubelet.configuration.applying import HONOURED, checked
from kumo.kubernetes.kubelet.configuration.fields import API_VERSION, FIELDS, KIND, STRUCTS, Field, is_struct
from kumo.kubernetes.kubelet.configuration.reading import completed

_LOGGING = {
    "format": "text",
    "flushFrequency": "5s",
    "verbosity": 0,
    "options": {"text": {"infoBufferSize": "0"}, "json": {"infoBufferSize": "0"}},
}


def configz(config: KubeletConfig, socket: Path) -> bytes:
    """The page, as JSON; `socket` is containerd's."""
    return msgspec.json.encode({"kubeletconfig": effective(config, f"unix://{socket}")})


def effective(config: KubeletConfig, endpoint: str) -> dict[str, Any]:
    """The document that holds: what was given where the kubelet follows it, defaults elsewhere, and its own facts."""
    default = completed({})
    document = dict(config.document or checked({}))
    document |= {name: default[name] for name in FIELDS if name not in HONOURED}
    document |= {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "port": config.port,
        "clusterDNS": list(config.cluster_dns),
        "clusterDomain": config.cluster_domain,
        "resolvConf": str(config.resolv_conf),
        "staticPodPath": str(config.manifests_directory),
        "podLogsDir": str(config.logs_directory),
        "containerRuntimeEndpoint": endpoint,
        "cgroupRoot": config.cgroup_parent,
        "nodeLeaseDurationSeconds": max(1, round(4 * config.lease_seconds)),
        "nodeStatusReportFrequency": go_text(config.status_seconds),
        "evictionHard": dict(config.eviction_hard),
        "maxPods": config.max_pods,
        "logging": _LOGGING,
    }
    return _shown(document, FIELDS)


def _shown(document: Mapping[str, Any], fields: Mapping[str, Field]) -> dict[str, Any]:
    """What Go writes of the document: nothing for what is zero and not optional, structs and durations always."""
    made: dict[str, Any] = {}
    for name, field in fields.items():
        value = document.get(name)
        if is_struct(field.kind) and not (field.optional and value is None):
            made[name] = _shown(value or {}, STRUCTS[field.kind][1])
        elif field.kind == "duration" and not field.optional:
            made[name] = value or "0s"
        elif value is not None and (field.optional or value):
            made[name] = value
    return made
