"""What the API told, in order: a watch over all pods that goes on where it broke off, through every death."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from kumo.api.conditions import is_true
from kumo.api.errors import StatusError
from kumo.api.objects import Object, labels_of, name_of, namespace_of, uid_of
from kumo.api.resources import PODS
from kumo.machinery.client import Client

Check = Callable[[dict[str, Object]], str]
"""What is wrong with the pods of this moment, by UID; empty when nothing is."""


class Ledger:
    """All pods as the watch told of them. `wrong` is what was never to be seen."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.pods: dict[str, Object] = {}
        self.wrong: list[str] = []
        self.checks: dict[str, Check] = {}
        self.events = 0
        self.connections = 0
        self.changed = asyncio.Event()
        self._revision = ""
        self._newest = 0
        self._gone: set[str] = set()
        self._told: dict[str, str] = {}
        self.lost: list[str] = []
        """Which pods stopped being ready without being deleted, and why."""
        self.ended: dict[str, Object] = {}
        """Pods that were seen to have ended, as they were then."""

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            self.connections += 1
            try:
                if not self._revision:
                    await self._list()
                async for event in self._client.watch(PODS, resource_version=self._revision):
                    self._take(event.type, event.object)
            except StatusError as error:
                if error.code == 410:  # a server that was started again remembers nothing from before
                    self._revision = ""
            except (ConnectionError, OSError, TimeoutError):
                pass
            await asyncio.sleep(0.05)

    async def _list(self) -> None:
        listing = await self._client.list(PODS)
        if int(listing.resource_version) < self._newest:
            self.wrong.append(f"the list is of {listing.resource_version}, {self._newest} had been told")
        for pod in listing.items:
            if uid_of(pod) in self._gone:
                self.wrong.append(f"{name_of(pod)} had been deleted, and is there")
            self._follow(pod)
        self.pods = {uid_of(p): p for p in listing.items}
        self._revision = listing.resource_version
        self._judge()

    def _take(self, kind: str, pod: Object) -> None:
        revision, uid = str(pod["metadata"]["resourceVersion"]), uid_of(pod)
        if int(revision) <= int(self._revision) and kind != "BOOKMARK":
            self.wrong.append(f"{kind} of {name_of(pod)} at {revision} came after {self._revision}")
        self._revision, self._newest = revision, int(revision)
        if kind == "BOOKMARK":
            return
        self.events += 1
        if (kind == "ADDED") == (uid in self.pods):
            self.wrong.append(f"{kind} of {name_of(pod)}, which was {'' if uid in self.pods else 'not '}there")
        self._follow(pod)
        if kind == "DELETED":
            self.pods.pop(uid, None)
            self._gone.add(uid)
        else:
            self.pods[uid] = pod
        self._judge()

    def _judge(self) -> None:
        for name, check in self.checks.items():
            found = check(self.pods)
            if found and found != self._told.get(name):
                self.wrong.append(f"{name} at {self._revision}: {found}; {self.lost[-3:]}")
            self._told[name] = found
        self.changed.set()

    def _follow(self, pod: Object) -> None:
        """No status goes back: a phase from its end, a restart count, a container that began anew without one."""
        before = self.pods.get(uid_of(pod))
        if pod["status"].get("phase") in ("Succeeded", "Failed"):
            self.ended.setdefault(uid_of(pod), pod)
        if before is None:
            return
        label = f"{namespace_of(pod)}/{name_of(pod)}"
        if is_true(before, "Ready") and not is_true(pod, "Ready") and "deletionTimestamp" not in pod["metadata"]:
            why = [c for c in pod["status"].get("conditions") or () if c["type"] == "Ready"]
            states = [(c["state"], c["restartCount"]) for c in pod["status"].get("containerStatuses") or ()]
            self.lost.append(f"{time.strftime('%T')} {label} {why} {states}")
        old, new = before["status"].get("phase"), pod["status"].get("phase")
        if old in ("Succeeded", "Failed") and new != old:
            self.wrong.append(f"{label} went from {old} to {new}")
        counts = {c["name"]: c for c in before["status"].get("containerStatuses") or ()}
        for status in pod["status"].get("containerStatuses") or ():
            last = counts.get(status["name"])
            if last is None:
                continue
            if status["restartCount"] < last["restartCount"]:
                self.wrong.append(f"{label} restarts went from {last['restartCount']} to {status['restartCount']}")
            one, other = last.get("containerID"), status.get("containerID")
            if one and other and one != other and status["restartCount"] == last["restartCount"]:
                self.wrong.append(f"{label} has another container without a restart")
            elif one and not other:
                self.wrong.append(f"{label} lost its container from its status")

    def of(self, namespace: str, **labels: str) -> list[Object]:
        """The pods of the namespace with these labels."""
        return select(self.pods, namespace, **labels)


def select(pods: dict[str, Object], namespace: str, **labels: str) -> list[Object]:
    """Those of the pods that are of the namespace and have these labels."""
    return [p for p in pods.values() if namespace_of(p) == namespace and labels.items() <= labels_of(p).items()]


def serving(pods: list[Object]) -> list[Object]:
    """Those that are ready and not being deleted."""
    return [p for p in pods if "deletionTimestamp" not in p["metadata"] and is_true(p, "Ready")]
