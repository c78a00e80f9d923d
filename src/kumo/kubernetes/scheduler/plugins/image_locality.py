"""ImageLocality: nodes that have the pod's images already."""

from __future__ import annotations

from collections.abc import Sequence

from kumo.kubernetes.scheduler.cycle import Cycle
from kumo.kubernetes.scheduler.nodes import NodeInfo
from kumo.kubernetes.scheduler.plugins.base import MAX_SCORE, Plugin

_MIB = 1024 * 1024
_SMALL, _LARGE = 23 * _MIB, 1000 * _MIB


class ImageLocality(Plugin):
    """Prefers nodes by the bytes of the pod's images that they have, each scaled by the share of nodes that have it."""

    name = "ImageLocality"
    scores = True

    def score(self, cycle: Cycle, nodes: Sequence[NodeInfo]) -> list[int] | None:
        """Between 23 MiB (0) and 1,000 MiB a container (100)."""
        spec, having = cycle.pod.spec, cycle.world.cache.image_nodes
        containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
        volumes = [v["image"].get("reference") or "" for v in spec.get("volumes") or () if v.get("image")]
        images = [with_tag(i) for i in (*(c.get("image") or "" for c in containers), *volumes)]
        wanted = [(name, having[name]) for name in images if having.get(name)]
        if not wanted:
            return None
        sizes = cycle.world.cache.image_sizes
        total, top = len(cycle.world.cache.candidates()), _LARGE * len(containers)
        made = []
        for info in nodes:
            there = info.images
            size = sum(int(sizes[name] * (count / total)) for name, count in wanted if name in there)
            made.append(MAX_SCORE * (min(max(size, _SMALL), top) - _SMALL) // (top - _SMALL))
        return made


def with_tag(image: str) -> str:
    """The image's name with the tag that it has by default."""
    return image if image.rfind(":") > image.rfind("/") else image + ":latest"
