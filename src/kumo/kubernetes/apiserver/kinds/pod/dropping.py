"""Fields of features that Kubernetes 1.36 has switched off: dropped, unless the old object uses them already."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kumo.kubernetes.apiserver.kinds.pod.visiting import visit

_PROJECTIONS = ("clusterTrustBundle", "podCertificate")


def drop_disabled(spec: dict[str, Any], old: dict[str, Any] | None) -> None:
    """Drop such fields of a pod spec, in place; `old` is the spec that it replaces."""
    if "schedulingGroup" not in (old or {}):
        spec.pop("schedulingGroup", None)
    for lifecycle in _lifecycles(spec):
        if "stopSignal" in lifecycle and not (old and any("stopSignal" in one for one in _lifecycles(old))):
            del lifecycle["stopSignal"]
    for source in _projected(spec):
        for key in _PROJECTIONS:
            if key in source and not (old and any(key in one for one in _projected(old))):
                del source[key]


def _lifecycles(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for container, _ in visit(spec):
        if container.get("lifecycle"):
            yield container["lifecycle"]


def _projected(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for volume in spec.get("volumes") or ():
        if volume.get("projected"):
            yield from volume["projected"].get("sources") or ()
