"""Tells kubelets how long they may cache secrets and config maps: longer, the more nodes there are (upstream's ttl)."""

from __future__ import annotations

from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Key, Object, annotations_of
from kumo.api.resources import NODES
from kumo.machinery.client import Client
from kumo.machinery.controller import Controller
from kumo.machinery.informer import Informers

ANNOTATION = "node.alpha.kubernetes.io/ttl"
"""Seconds, on each node."""
_STEPS = ((0, 100, 0), (90, 500, 15), (450, 1000, 30), (900, 2000, 60), (1800, 1 << 31, 300))
"""From fewest to most nodes of a step, and its seconds; they overlap, so that one node more or less moves nothing."""


def step_for(step: int, count: int) -> int:
    """The step after `step` for so many nodes."""
    while count > _STEPS[step][1]:
        step += 1
    while count < _STEPS[step][0]:
        step -= 1
    return step


def seconds_of(step: int) -> int:
    """What a step's nodes are told."""
    return _STEPS[step][2]


class NodeTtlController:
    """Keeps the annotation on every node."""

    name = "ttl-controller"

    def __init__(self, client: Client, informers: Informers) -> None:
        self._client = client
        self._nodes = informers.informer(NODES)
        self._step = 0
        self._count = 0
        self._nodes.on_change(self._counted)
        self._controller = Controller(self.name, self._reconcile, workers=1)
        self._controller.watch(self._nodes)

    async def run(self) -> None:
        """Run until cancelled."""
        await self._controller.run()

    def _counted(self, old: Object | None, new: Object | None) -> None:
        self._count += (old is None) - (new is None)
        self._step = step_for(self._step, self._count)

    async def _reconcile(self, key: Key) -> float | None:
        node = self._nodes.get_key(key)
        wanted = str(seconds_of(self._step))
        if node is None or annotations_of(node).get(ANNOTATION) == wanted:
            return None
        try:
            await self._client.patch(NODES, key.name, {"metadata": {"annotations": {ANNOTATION: wanted}}})
        except StatusError as error:
            if not is_not_found(error):
                raise
        return None
