"""HTTP extenders: other programs that have a say in where pods go, asked over HTTP (`kube-scheduler/extender/v1`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec
import structlog

from kumo.api.objects import Object
from kumo.kubernetes.scheduler.cache import Cache
from kumo.kubernetes.scheduler.cycle import CycleError, Refusal
from kumo.kubernetes.scheduler.extender_settings import ExtenderSettings
from kumo.kubernetes.scheduler.nodes import NodeInfo, PodInfo
from kumo.kubernetes.scheduler.preemption import Candidate
from kumo.machinery.tls import client_context
from kumo.machinery.transport import HttpTransport

EXTENDER = "ExtenderPlugin"
"""The name under which refusals of extenders go: any change may change their minds."""
_log = structlog.get_logger("kumo.scheduler")
_LARGEST_SCORE = 10
_FAILURES = (ConnectionError, OSError, TimeoutError, ValueError)


class Extender:
    """One extender."""

    def __init__(self, settings: ExtenderSettings) -> None:
        self.settings = settings
        split = urlsplit(settings.url)
        tls = None
        if split.scheme == "https":
            tls = client_context(ca=settings.ca, cert=settings.cert, key=settings.key, verify=not settings.insecure)
        self._path = split.path
        self._transport = HttpTransport(
            f"{split.scheme}://{split.netloc}", tls=tls, timeout=settings.timeout, server_name=settings.server_name
        )

    async def close(self) -> None:
        """Let go of its connections."""
        await self._transport.close()

    def is_interested(self, pod: PodInfo) -> bool:
        """Whether the extender has a say about the pod: it manages a resource that the pod asks for, or all pods."""
        managed = self.settings.managed
        if not managed:
            return True
        spec = pod.spec
        return any(
            name in managed
            for c in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
            for kind in ("requests", "limits")
            for name in (c.get("resources") or {}).get(kind) or ()
        )

    async def filter(self, pod: PodInfo, nodes: list[NodeInfo]) -> tuple[list[NodeInfo], dict[str, Refusal]]:
        """The nodes that the extender leaves, and what it says of the others. Raises CycleError."""
        if not self.settings.filter_verb:
            return nodes, {}
        answer = await self._ask(self.settings.filter_verb, self._arguments(pod, nodes))
        body = _lower(answer)
        if body.get("error"):
            raise CycleError(str(body["error"]))
        names = body.get("nodenames") if self.settings.node_cache else None
        if names is None:
            listed = (body.get("nodes") or {}).get("items") or ()
            names = [n["metadata"]["name"] for n in listed]
        known = {n.name: n for n in nodes}
        unknown = [n for n in names if n not in known]
        if unknown:
            raise CycleError(
                f'extender "{self.settings.url}" claims a filtered node "{unknown[0]}" which is not found in the input '
                f"node list"
            )
        refusals = {n: Refusal((str(t),), EXTENDER) for n, t in (body.get("failednodes") or {}).items()}
        for name, text in (body.get("failedandunresolvablenodes") or {}).items():
            refusals[name] = Refusal((str(text),), EXTENDER, final=True)
        return [known[n] for n in names], refusals

    async def prioritize(self, pod: PodInfo, nodes: list[NodeInfo]) -> dict[str, int]:
        """Points by node; none where the extender can't be asked: others decide then."""
        if not self.settings.prioritize_verb:
            return {}
        try:
            answer = await self._ask(self.settings.prioritize_verb, self._arguments(pod, nodes))
            factor = self.settings.weight * 100 // _LARGEST_SCORE
            return {e["host"]: int(e["score"]) * factor for e in map(_lower, answer or ())}
        except (CycleError, KeyError, TypeError, ValueError) as error:
            _log.debug("an extender gives no scores", extender=self.settings.url, error=str(error))
            return {}

    async def narrow(self, pod: PodInfo, candidates: Sequence[Candidate], cache: Cache) -> list[Candidate]:
        """The candidates for preemption that the extender leaves, with the victims it names. Raises CycleError."""
        if not self.settings.preempt_verb:
            return list(candidates)
        key = "NodeNameToMetaVictims" if self.settings.node_cache else "NodeNameToVictims"
        asked = {c.node: _victims(c, meta=self.settings.node_cache) for c in candidates}
        body = _lower(await self._ask(self.settings.preempt_verb, {"Pod": pod.pod, key: asked}))
        found = []
        for node, victims in (body.get("nodenametometavictims") or {}).items():
            chosen = _lower(victims or {})
            there = cache.nodes[node].pods if node in cache.nodes else {}
            uids = [_lower(v).get("uid") for v in chosen.get("pods") or ()]
            if not uids and not self.settings.ignorable:
                raise CycleError(f'expected at least one victim pod on node "{node}"')
            missing = [u for u in uids if u not in there]
            if missing:
                claim = f"extender: {self.settings.url} claims to preempt pod (UID: {missing[0]}) on node: {node}"
                raise CycleError(f"{claim}, but the pod is not found on that node")
            if uids:
                pods = tuple(there[str(u)] for u in uids)
                found.append(Candidate(node, pods, int(chosen.get("numpdbviolations") or 0)))
        return found

    async def bind(self, pod: PodInfo, node: str) -> None:
        """Have the extender bind the pod. Raises CycleError."""
        body = {"PodName": pod.name, "PodNamespace": pod.namespace, "PodUID": pod.uid, "Node": node}
        answer = _lower(await self._ask(self.settings.bind_verb, body) or {})
        if answer.get("error"):
            raise CycleError(str(answer["error"]))

    def _arguments(self, pod: PodInfo, nodes: Sequence[NodeInfo]) -> Object:
        if self.settings.node_cache:
            return {"Pod": pod.pod, "Nodes": None, "NodeNames": [n.name for n in nodes]}
        return {"Pod": pod.pod, "Nodes": {"metadata": {}, "items": [n.node for n in nodes]}, "NodeNames": None}

    async def _ask(self, verb: str, body: Object) -> Any:
        headers = {"content-type": "application/json"}
        path = f"{self._path}/{verb}"
        try:
            payload = msgspec.json.encode(body)
            reply = await self._transport.request("POST", path, headers=headers, body=payload)
            if reply.status != 200:
                raise CycleError(f"failed {verb} with extender at URL {self.settings.url}/{verb}, code {reply.status}")
            return msgspec.json.decode(reply.body)
        except _FAILURES as error:
            raise CycleError(f'Post "{self.settings.url}/{verb}": {error or type(error).__name__}') from error


def _victims(candidate: Candidate, *, meta: bool) -> Object:
    pods: list[Any] = [{"UID": v.uid} if meta else v.pod for v in candidate.victims]
    return {"Pods": pods, "NumPDBViolations": candidate.violations}


def _lower(body: Any) -> Mapping[str, Any]:
    """The object with lower-case keys: Go's decoder does not mind, and so extenders do not. Raises CycleError."""
    if not isinstance(body, dict):
        raise CycleError("an extender's answer is not an object")
    return {k.lower(): v for k, v in body.items()}
