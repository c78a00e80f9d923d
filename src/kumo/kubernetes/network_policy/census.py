"""Everybody whom policies may be about or mean: pods by namespace, and what a change of one touches. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from kumo.api.objects import Key
from kumo.kubernetes.network_policy.policies import EGRESS, INGRESS, Pod, Policy, Selection


class Census:
    """Pods, namespaces' labels and policies as they are known now.

    `put_*` and `drop_*` note in `touched_pods` and `touched_policies` what has to be written anew; whoever writes it
    takes it from there (`take`).
    """

    def __init__(self, node: str) -> None:
        self._node = node
        self._pods: dict[str, dict[Key, Pod]] = {}
        self._namespaces: dict[str, Mapping[str, str]] = {}
        self.policies: dict[Key, Policy] = {}
        self._held: dict[str, tuple[Key, str]] = {}
        """Who was given an address of this node last: name and UID (empty where that is not known)."""
        self.touched_pods: set[Key] = set()
        self.touched_policies: set[Key] = set()

    # -- what is known ----------------------------------------------------------------------------------------------

    def pod(self, key: Key) -> Pod | None:
        """The pod."""
        return self._pods.get(key.namespace, {}).get(key)

    def pods(self) -> Iterable[Pod]:
        """Everybody in the cluster."""
        return [p for found in self._pods.values() for p in found.values()]

    def selected(self, policy: Policy) -> Iterable[Pod]:
        """Whom the policy is about."""
        return [p for p in self._pods.get(policy.key.namespace, {}).values() if policy.selects(p)]

    def meant(self, selection: Selection, namespace: str) -> Iterable[Pod]:
        """Whom a peer of a policy in that namespace means."""
        near = {namespace} if selection.namespaces is None else set(self._pods)
        return [
            p
            for name in near
            for p in self._pods.get(name, {}).values()
            if selection.means(p, namespace, self._namespaces.get(name))
        ]

    def isolating(self, pod: Pod) -> dict[str, list[Policy]]:
        """The policies that isolate the pod in each direction; none for pods of other nodes, which see to theirs."""
        if pod.node != self._node:
            return {INGRESS: [], EGRESS: []}
        about = [p for p in self.policies.values() if p.selects(pod)]
        return {d: [p for p in about if p.rules(d) is not None] for d in (INGRESS, EGRESS)}

    # -- what changes -----------------------------------------------------------------------------------------------

    def put_pod(self, pod: Pod) -> None:
        """The pod is so now."""
        pod = self._rightful(pod)
        old = self.pod(pod.key)
        if pod == old:
            return
        self._pods.setdefault(pod.key.namespace, {})[pod.key] = pod
        self._touch(old, pod)

    def drop_pod(self, key: Key, uid: str = "") -> None:
        """There is no such pod any more."""
        old = self._pods.get(key.namespace, {}).pop(key, None)
        for address in [a for a, (holder, its) in self._held.items() if holder == key and its in ("", uid)]:
            del self._held[address]
        if old is not None:
            self._touch(old, None)

    def hold(self, key: Key, uid: str, addresses: Iterable[str]) -> None:
        """The pod is being given these addresses of this node; whoever had them has them no more."""
        given = set(addresses)
        self._held |= dict.fromkeys(given, (key, uid))
        for other in self.pods():
            if other.key == key or not given.isdisjoint(other.addresses):
                self.put_pod(other)

    def _rightful(self, pod: Pod) -> Pod:
        """The pod with the addresses that were given to it, and without those that others have now."""

        def has(address: str) -> bool:
            key, uid = self._held.get(address, (pod.key, ""))
            return key == pod.key and uid in ("", pod.uid)

        known = {*pod.addresses, *(a for a, (key, _) in self._held.items() if key == pod.key)}
        return replace(pod, addresses=tuple(sorted(a for a in known if has(a))))

    def put_namespace(self, name: str, labels: Mapping[str, str] | None) -> None:
        """The namespace has these labels; None: there is none."""
        if self._namespaces.get(name) == labels:
            return
        if labels is None:
            self._namespaces.pop(name, None)
        else:
            self._namespaces[name] = labels
        for policy in self.policies.values():
            if any(s.namespaces is not None for s in policy.selections):
                self.touched_policies.add(policy.key)

    def put_policy(self, policy: Policy) -> None:
        """The policy is so now."""
        old = self.policies.get(policy.key)
        if policy == old:
            return
        self.policies[policy.key] = policy
        self._touch_policy(old, policy)

    def drop_policy(self, key: Key) -> None:
        """There is no such policy any more."""
        old = self.policies.pop(key, None)
        if old is not None:
            self._touch_policy(old)

    def _touch_policy(self, *versions: Policy | None) -> None:
        for policy in versions:
            if policy is not None:
                self.touched_policies.add(policy.key)
                self.touched_pods |= {p.key for p in self.selected(policy)}

    def _touch(self, old: Pod | None, new: Pod | None) -> None:
        for pod in (old, new):
            if pod is None:
                continue
            self.touched_pods.add(pod.key)
            labels = self._namespaces.get(pod.key.namespace)
            for policy in self.policies.values():
                meant = any(s.means(pod, policy.key.namespace, labels) for s in policy.selections)
                if meant or (policy.names and (policy.egress is not None or policy.selects(pod))):
                    self.touched_policies.add(policy.key)

    def take(self) -> tuple[set[Key], set[Key]]:
        """Pods and policies that have to be written anew."""
        pods, policies = self.touched_pods, self.touched_policies
        self.touched_pods, self.touched_policies = set(), set()
        return pods, policies
