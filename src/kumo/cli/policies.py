"""The node's network policies: their enforcer, and the pod network's gate that new pods pass."""

from __future__ import annotations

import asyncio

from kumo.cli.instance import Instance
from kumo.host.network import cni
from kumo.host.network.agent import PodNetwork
from kumo.host.nftables import Nft
from kumo.kubernetes.network_policy.enforcer import NetworkPolicyConfig, NetworkPolicyEnforcer, NotEnforced
from kumo.machinery.informer import Informers

_SECONDS = 9.0
"""Less than the pod network gives a call: the runtime tries again."""


def guarded(instance: Instance, network: PodNetwork, informers: Informers, nft: Nft) -> NetworkPolicyEnforcer:
    """The enforcer; from now on a pod is connected only when its policies are in force. Call it in the event loop."""
    loop = asyncio.get_running_loop()
    config = NetworkPolicyConfig(f"{instance.table_prefix}-policies", instance.node_name)
    enforcer = NetworkPolicyEnforcer(config, informers, network.given, nft)

    def gate(pod: str, uid: str, addresses: tuple[str, ...]) -> None:
        admission = asyncio.run_coroutine_threadsafe(enforcer.admit(pod, uid, addresses), loop)
        try:
            admission.result(_SECONDS)
        except (NotEnforced, TimeoutError) as error:
            admission.cancel()
            raise cni.CniError(cni.TRY_AGAIN_LATER, str(error) or f"network policies of {pod} are late") from error

    network.gate = gate
    return enforcer
