"""A node whose range of pod addresses becomes another one: remembered, and begun anew with it."""

from __future__ import annotations

from dataclasses import replace

from kumo.cli.instance import Instance, save
from kumo.kubernetes.pod_network.agent import NodeNetwork, RangeChanged


class RangeKeeper:
    """Runs the way to other nodes. `run` raises RangeChanged once the new range is remembered.

    It comes to that when the Node object was deleted and made anew: its pods are gone with it, so the process starts
    again with a network of the new range.
    """

    def __init__(self, instance: Instance, network: NodeNetwork) -> None:
        self.name = network.name
        self._instance = instance
        self._network = network

    async def run(self) -> None:
        """Run until cancelled. Raises RangeChanged."""
        try:
            await self._network.run()
        except RangeChanged as change:
            save(replace(self._instance, node_pod_cidr=str(change.args[0])))
            raise
