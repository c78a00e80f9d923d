"""All containers of a pod spec, with their paths."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Container = dict[str, Any]


def visit(spec: dict[str, Any], path: str = "") -> Iterator[tuple[Container, str]]:
    """Each container and where it stands, in upstream's order: init containers, plain ones, ephemeral ones."""
    for key in ("initContainers", "containers", "ephemeralContainers"):
        for index, container in enumerate(spec.get(key) or ()):
            yield container, f"{path}.{key}[{index}]"


def is_sidecar(container: Container) -> bool:
    """Whether an init container keeps running beside the pod's containers."""
    return container.get("restartPolicy") == "Always"
