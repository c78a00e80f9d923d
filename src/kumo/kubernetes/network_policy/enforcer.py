"""The shell: informers in, transactions out, and the gate that new pods pass."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import structlog

from kumo.api.objects import Key, Object, key_of, labels_of, name_of, namespace_of
from kumo.api.resources import ENDPOINTSLICES, GVR, NAMESPACES, PODS
from kumo.host.fragments import Fragment, FragmentTable
from kumo.host.nftables import Nft, NftError
from kumo.kubernetes.network_policy import rules
from kumo.kubernetes.network_policy.census import Census
from kumo.kubernetes.network_policy.policies import (
    EGRESS,
    INGRESS,
    Pod,
    Policy,
    identity_of,
    pod_of,
    policy_of,
    resolver_pods,
)
from kumo.machinery.informer import Informer, Informers

NETWORK_POLICIES = GVR("networking.k8s.io", "v1", "networkpolicies")
_log = structlog.get_logger("kumo.network-policy")
_RETRY_FIRST, _RETRY_LONGEST = 0.1, 30.0
_GATE_SECONDS = 8.0
_SERVICE_NAME = "kubernetes.io/service-name"
_RESOLVER = Key("kube-system", "kube-dns")
_RESOLVER_LABELS = {"k8s-app": "kube-dns"}


class NotEnforced(Exception):
    """A new pod's policies can't be put in force now; it must not be connected yet."""


@dataclass(frozen=True, slots=True)
class NetworkPolicyConfig:
    """One node's enforcer. `table` must be the instance's own."""

    table: str
    node_name: str


class NetworkPolicyEnforcer:
    """Keeps the tables as NetworkPolicies, pods and namespaces want them.

    Until the first policy appears nothing but policies is watched. The rules stay when this ends. `given` tells which
    addresses of this node pods have (`namespace/name`, addresses), for those whose status does not say so yet.
    """

    name = "network-policy"

    def __init__(
        self,
        config: NetworkPolicyConfig,
        informers: Informers,
        given: Callable[[], Iterable[tuple[str, tuple[str, ...]]]] = tuple,
        nft: Nft | None = None,
    ) -> None:
        self._config = config
        self._informers = informers
        self._given = given
        self._census = Census(config.node_name)
        self._tables = {f: FragmentTable(f, config.table) for f in rules.FAMILIES}
        self._gates: dict[Key, Mapping[str, list[Policy]]] = {}
        self._nft = nft or Nft()
        self._wake = asyncio.Event()
        self._whole = True
        self._news = asyncio.Event()
        """Set, and replaced, when something has changed: gates wait for their pods."""
        self._sources: list[Informer] = []
        self._policies = informers.informer(NETWORK_POLICIES)
        self._policies.on_change(self._policy_changed)
        self._waiters: list[asyncio.Future[None]] = []
        self.ready = asyncio.Event()
        """Set once the first transaction is in the kernel."""

    # -- news -------------------------------------------------------------------------------------------------------

    def _policy_changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self._begin()
            self._census.put_policy(policy_of(new))
        elif old is not None:
            self._census.drop_policy(key_of(old))
        self._wake.set()

    def _begin(self) -> None:
        """Watch everybody whom a policy may mean."""
        if self._sources:
            return
        pods, namespaces, slices = (self._informers.informer(g) for g in (PODS, NAMESPACES, ENDPOINTSLICES))
        self._sources = [pods, namespaces, slices]
        self._whole = True
        namespaces.on_change(self._namespace_changed)
        pods.on_change(self._pod_changed)
        slices.on_change(self._slice_changed)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        pod = pod_of(new) if new is not None else None
        if pod is not None:
            self._census.put_pod(pod)
        elif (gone := new or old) is not None:
            self._census.drop_pod(key_of(gone), identity_of(gone))
        self._told()

    def _namespace_changed(self, old: Object | None, new: Object | None) -> None:
        obj = new or old
        if obj is not None:
            self._census.put_namespace(name_of(obj), labels_of(obj) if new is not None else None)
        self._told()

    def _slice_changed(self, old: Object | None, new: Object | None) -> None:
        before, after = ({p.key: p for p in _resolvers(o)} for o in (old, new))
        for key in before.keys() - after.keys():
            self._census.drop_pod(key)
        for pod in after.values():
            self._census.put_pod(pod)
        self._told()

    def _told(self) -> None:
        self._wake.set()
        self._news.set()
        self._news = asyncio.Event()

    # -- the gate ---------------------------------------------------------------------------------------------------

    async def admit(self, pod: str, uid: str, addresses: tuple[str, ...]) -> None:
        """Return once the policies of the pod (`namespace/name`, and its UID if that is known) hold for its addresses.

        To be called before the addresses work. Raises NotEnforced.
        """
        namespace, _, name = pod.partition("/")
        key = Key(namespace, name)
        try:
            async with asyncio.timeout(_GATE_SECONDS):
                await self._policies.wait_synced()
                self._census.hold(key, uid, addresses)
                if not self._sources:
                    return
                for source in self._sources:
                    await source.wait_synced()
                while (found := self._census.pod(key)) is None or (uid and found.uid != uid):
                    await self._news.wait()
                waiter = asyncio.get_running_loop().create_future()
                self._waiters.append(waiter)
                self._wake.set()
                await waiter
        except TimeoutError:
            raise NotEnforced(f"the network policies of {pod} are not in force yet") from None

    # -- the kernel -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until cancelled; it may be called again after a failure."""
        self._whole = True
        await self._policies.wait_synced()
        delay = _RETRY_FIRST
        while True:
            for source in self._sources:
                await source.wait_synced()
            self._wake.clear()
            waiters, self._waiters = self._waiters, []
            try:
                await (self._sync_all() if self._whole else self._sync())
            except (NftError, OSError) as error:
                _log.error("can't write the network policies' rules", error=str(error), again_in=delay)
                self._whole = True
                self._waiters += waiters
                await asyncio.sleep(delay)
                delay = min(delay * 2, _RETRY_LONGEST)
                continue
            delay, self._whole = _RETRY_FIRST, False
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)
            self.ready.set()
            await self._wake.wait()

    async def remove(self) -> None:
        """Take the tables away."""
        for family in rules.FAMILIES:
            await asyncio.to_thread(self._nft.delete_table, family, self._config.table)

    async def _sync_all(self) -> None:
        began = time.monotonic()
        for pod, addresses in self._given():
            namespace, _, name = pod.partition("/")
            self._census.hold(Key(namespace, name), "", addresses)
        self._census.take()
        self._gates.clear()
        pods = {p.key for p in self._census.pods()}
        commands = ""
        for family, table in self._tables.items():
            table.clear()
            commands += rules.base(self._config.table, family)
        commands += self._change(pods, set(self._census.policies))
        await self._nft.apply_async(commands)
        milliseconds = round((time.monotonic() - began) * 1000, 1)
        _log.info("network policies in force", policies=len(self._census.policies), milliseconds=milliseconds)

    async def _sync(self) -> None:
        commands = self._change(*self._census.take())
        if commands:
            await self._nft.apply_async(commands)

    def _change(self, pods: set[Key], policies: set[Key]) -> str:
        """The transaction after which these pods and policies are as they are known."""
        census = self._census
        found = {key: census.pod(key) for key in pods}
        isolating = {key: census.isolating(pod) if pod is not None else {} for key, pod in found.items()}
        used = {**self._gates, **isolating}
        before, after = _gates(self._gates.values()), _gates(used.values())
        self._gates = {k: v for k, v in used.items() if any(v.values())}
        commands = ""
        for family, table in self._tables.items():
            wanted = {key: Fragment() for key in before.keys() - after.keys()}
            for key in policies:
                policy = census.policies.get(key)
                made = rules.PolicyWriter(policy, family, census).fragment() if policy is not None else Fragment()
                wanted[Key("policy", str(key))] = made
            for gate, (direction, listed) in after.items():
                if gate not in before:
                    wanted[gate] = rules.gate_fragment(direction, listed)
            for key, pod in found.items():
                made = rules.pod_fragment(pod, isolating[key], family) if pod is not None else Fragment()
                wanted[Key("pod", str(key))] = made
            commands += table.change(wanted)
        return commands


def _gates(isolating: Iterable[Mapping[str, list[Policy]]]) -> dict[Key, tuple[str, list[Policy]]]:
    return {
        rules.gate_key(direction, policies): (direction, policies)
        for found in isolating
        for direction in (INGRESS, EGRESS)
        if (policies := found.get(direction, []))
    }


def _resolvers(piece: Object | None) -> list[Pod]:
    if piece is None or (namespace_of(piece), labels_of(piece).get(_SERVICE_NAME)) != _RESOLVER:
        return []
    return resolver_pods(piece, _RESOLVER_LABELS)
