"""Follows the config maps and secrets that running pods have mounted, so that a change reaches their files at once.

A node may watch only what its pods refer to, one object at a time: a watch for each, however many pods mount it, and
none for what is immutable. Upstream: `pkg/kubelet/util/manager/watch_based_manager.go`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import structlog

from kumo.api.errors import StatusError
from kumo.api.objects import Object, namespace_of
from kumo.api.resources import CONFIGMAPS, GVR, SECRETS
from kumo.kubernetes.kubelet.references import References
from kumo.machinery.client import Client

Key = tuple[GVR, str, str]
"""Kind, namespace and name."""

_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
_log = structlog.get_logger("kumo.kubelet")


def mounted(pod: Object) -> set[Key]:
    """The config maps and secrets behind the pod's volumes."""
    found = set()
    for volume in pod["spec"].get("volumes") or ():
        for source in _sources(volume):
            if "configMap" in source:
                found.add((CONFIGMAPS, namespace_of(pod), str(source["configMap"].get("name") or "")))
            elif "secret" in source:
                secret = source["secret"]
                name = secret.get("secretName") or secret.get("name") or ""
                found.add((SECRETS, namespace_of(pod), str(name)))
    return {key for key in found if key[2]}


def _sources(volume: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield volume
    yield from (volume.get("projected") or {}).get("sources") or ()


class LiveReferences:
    """The watches. `changed` hears the uid of each pod that mounts an object which has changed."""

    def __init__(self, client: Client, references: References, changed: Callable[[str], None]) -> None:
        self._client = client
        self._references = references
        self._changed = changed
        self._pods: dict[Key, set[str]] = {}
        self._tasks: dict[Key, asyncio.Task[None]] = {}

    def want(self, uid: str, keys: set[Key]) -> None:
        """A pod has mounted these objects, and no others."""
        for key in keys:
            self._pods.setdefault(key, set()).add(uid)
            if key not in self._tasks:
                self._tasks[key] = asyncio.create_task(self._follow(key), name=f"watch {key[1]}/{key[2]}")
        for key in [k for k, pods in self._pods.items() if uid in pods and k not in keys]:
            self._pods[key].discard(uid)
            if not self._pods[key]:
                del self._pods[key]
                self._tasks.pop(key).cancel()

    def close(self) -> None:
        """Stop all watches."""
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()
        self._pods.clear()

    async def _follow(self, key: Key) -> None:
        gvr, namespace, name = key
        pause = _PAUSE
        revision = ""
        while True:
            try:
                selector = f"metadata.name={name}"
                async for event in self._client.watch(gvr, namespace, field_selector=selector):
                    pause = _PAUSE
                    if event.type == "BOOKMARK":
                        continue
                    fresh = str(event.object["metadata"].get("resourceVersion") or "")
                    if fresh == revision and event.type != "DELETED":
                        continue
                    revision = fresh
                    gone = event.type == "DELETED"
                    self._references.put(gvr, namespace, name, None if gone else event.object)
                    self._tell(key)
                    if event.object.get("immutable") and not gone:
                        return
            except (StatusError, ConnectionError, OSError, TimeoutError) as error:
                _log.debug("watch ended", object=f"{namespace}/{name}", error=str(error))
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _tell(self, key: Key) -> None:
        for uid in sorted(self._pods.get(key) or ()):
            self._changed(uid)
