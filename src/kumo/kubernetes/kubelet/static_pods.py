"""Pods from manifests in a directory of the node, and their mirrors: the objects by which the API shows them.

A static pod lives as long as its file; deleting the mirror changes nothing, it is made again. Upstream:
`pkg/kubelet/config/file_linux.go`, `pkg/kubelet/config/common.go` and `pkg/kubelet/pod/mirror_client.go`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from kumo.api import names
from kumo.api.errors import StatusError, is_already_exists, is_not_found
from kumo.api.objects import Object, annotations_of, is_deleting, name_of, namespace_of, timestamp, uid_of
from kumo.api.resources import PODS
from kumo.host.inotify import Inotify
from kumo.kubernetes.kubelet.spec import CONFIG_SOURCE, grace_period
from kumo.machinery.client import Client

CONFIG_HASH = "kubernetes.io/config.hash"
CONFIG_MIRROR = "kubernetes.io/config.mirror"
CONFIG_SEEN = "kubernetes.io/config.seen"
_SIZE_LIMIT = 10 << 20
_LOOK_AGAIN = 20.0
"""Seconds after which the directory is read again even if nothing was noticed (upstream's fileCheckFrequency)."""
_log = structlog.get_logger("kumo.kubelet")


class BadManifest(Exception):
    """A file is not the manifest of a pod; the text says why."""


def mirror_hash(pod: Object) -> str:
    """The hash of the static pod that this object mirrors, empty if it mirrors none."""
    return annotations_of(pod).get(CONFIG_MIRROR, "")


def from_manifest(text: bytes, source: str, node: str) -> Object:
    """The static pod that a manifest (YAML or JSON) describes, on that node. Raises BadManifest."""
    import yaml

    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise BadManifest(str(error)) from error
    if not isinstance(found, dict) or (found.get("apiVersion"), found.get("kind")) != ("v1", "Pod"):
        raise BadManifest("not an object of v1 Pod")
    metadata, spec = found.get("metadata"), found.get("spec")
    if not isinstance(metadata, dict) or not metadata.get("name"):
        raise BadManifest("invalid pod: name is needed for the pod")
    if not isinstance(spec, dict) or not isinstance(spec.get("containers"), list) or not spec["containers"]:
        raise BadManifest("invalid pod: it has no containers")
    if any(not isinstance(c, dict) or not isinstance(c.get("name"), str) for c in spec["containers"]):
        raise BadManifest("invalid pod: each container needs a name")
    _check_types(metadata, spec)
    pod = _as_static(found, source, node)
    _check_names(pod)
    return pod


def _check_types(metadata: Object, spec: Object) -> None:
    """Raise BadManifest where something is no list or map that must be one: nobody else looks at a static pod."""
    for key in ("labels", "annotations"):
        if not isinstance(metadata.get(key) or {}, dict):
            raise BadManifest(f"invalid pod: metadata.{key} must be a map")
    for key in ("initContainers", "volumes", "tolerations"):
        entries = spec.get(key) or []
        if not isinstance(entries, list) or any(not isinstance(e, dict) for e in entries):
            raise BadManifest(f"invalid pod: spec.{key} must be a list of maps")


def _check_names(pod: Object) -> None:
    """Raise BadManifest for names that folders and objects can't have."""
    spec = pod["spec"]
    parts = [("metadata.name", name_of(pod), names.check_subdomain)]
    parts += [("metadata.namespace", namespace_of(pod), names.check_label)]
    parts += [("metadata.uid", uid_of(pod), names.check_subdomain)]
    for key in ("containers", "initContainers", "volumes"):
        parts += [(f"spec.{key}.name", str(e.get("name") or ""), names.check_label) for e in spec.get(key) or ()]
    for path, text, check in parts:
        if faults := check(text):
            raise BadManifest(f'invalid pod: {path}: Invalid value: "{text}": {faults[0]}')


def _as_static(found: Object, source: str, node: str) -> Object:
    metadata, spec = found["metadata"], found["spec"]
    plain = json.dumps(found, sort_keys=True, default=str)
    digest = hashlib.md5(f"{plain}host:{node}file:{source}".encode(), usedforsecurity=False).hexdigest()
    uid = str(metadata.get("uid") or digest)
    notes = {str(k): str(v) for k, v in (metadata.get("annotations") or {}).items()}
    notes |= {CONFIG_HASH: uid, CONFIG_SOURCE: "file", CONFIG_SEEN: timestamp()}
    tolerations = [*(spec.get("tolerations") or ()), {"operator": "Exists", "effect": "NoExecute"}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **{k: v for k, v in metadata.items() if k in ("labels", "finalizers")},
            "name": f"{metadata['name']}-{node.lower()}",
            "namespace": str(metadata.get("namespace") or "default"),
            "uid": uid,
            "annotations": notes,
            "creationTimestamp": timestamp(),
        },
        "spec": {"enableServiceLinks": True, **spec, "nodeName": node, "tolerations": tolerations},
        "status": {"phase": "Pending"},
    }


def mirror_of(pod: Object, node: Object) -> Object:
    """The object that shows a static pod; the Node owns it."""
    owner = {
        "apiVersion": "v1",
        "kind": "Node",
        "name": name_of(node),
        "uid": uid_of(node),
        "controller": True,
    }
    metadata = {k: v for k, v in pod["metadata"].items() if k in ("name", "namespace", "labels")}
    notes = annotations_of(pod) | {CONFIG_MIRROR: annotations_of(pod)[CONFIG_HASH]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**metadata, "annotations": notes, "ownerReferences": [owner]},
        "spec": pod["spec"],
    }


def ended(pod: Object) -> Object:
    """The static pod once its manifest is gone: it has its grace period to end."""
    grace = grace_period(pod)
    return {
        **pod,
        "metadata": {**pod["metadata"], "deletionTimestamp": timestamp(), "deletionGracePeriodSeconds": grace},
    }


def read_directory(directory: Path, node: str) -> dict[str, Object]:
    """The static pods of all manifests in the directory, by full name. What is no manifest is logged. Blocking."""
    found: dict[str, Object] = {}
    for path in sorted(directory.iterdir()) if directory.is_dir() else ():
        if path.name.startswith(".") or not path.is_file():
            continue
        try:
            if path.stat().st_size > _SIZE_LIMIT:
                raise BadManifest("it is too large")
            pod = from_manifest(path.read_bytes(), str(path), node)
        except (BadManifest, OSError) as error:
            _log.warning("can't process manifest file", path=str(path), error=str(error))
            continue
        found.setdefault(f"{namespace_of(pod)}/{name_of(pod)}", pod)
    return found


class StaticPods:
    """Follows the directory. `changed` is called with a pod that has come (None, pod) or gone (pod, None)."""

    def __init__(
        self,
        directory: Path,
        node: str,
        changed: Callable[[Object | None, Object | None], None],
        look_again: float = _LOOK_AGAIN,
    ) -> None:
        self._look_again = look_again
        self._directory = directory
        self._node = node
        self._changed = changed
        self._pods: dict[str, Object] = {}

    def get(self, namespace: str, name: str) -> Object | None:
        """The static pod of that name."""
        return self._pods.get(f"{namespace}/{name}")

    def objects(self) -> list[Object]:
        """All static pods."""
        return list(self._pods.values())

    async def look(self) -> None:
        """Read the directory, and tell what has changed."""
        fresh = await asyncio.to_thread(read_directory, self._directory, self._node)
        before = self._pods
        same = {k: before[k] for k, p in fresh.items() if k in before and uid_of(before[k]) == uid_of(p)}
        self._pods = {**fresh, **same}
        for name, pod in before.items():
            if name not in same:
                self._changed(pod, None)
        for name, pod in fresh.items():
            if name not in same:
                self._changed(None, pod)

    async def run(self) -> None:
        """Follow the directory until cancelled."""
        await asyncio.to_thread(self._directory.mkdir, parents=True, exist_ok=True)
        with Inotify() as notify:
            notify.watch(self._directory, removals=True)
            while True:
                await self.look()
                await notify.wait(self._look_again)


class Mirrors:
    """Keeps one mirror for each static pod, and none that mirrors nothing."""

    def __init__(self, client: Client, node: Callable[[], Object | None]) -> None:
        self._client = client
        self._node = node

    async def settle(self, pod: Object | None, mirror: Object | None) -> None:
        """Make the API show `pod` (None: nothing) where it has `mirror`. Raises StatusError, ConnectionError."""
        wanted = annotations_of(pod).get(CONFIG_HASH) if pod is not None else None
        if mirror is not None and (mirror_hash(mirror) != wanted or is_deleting(mirror)):
            await self._delete(mirror)
            mirror = None
        node = self._node()
        if pod is None or mirror is not None or node is None:
            return
        try:
            await self._client.create(PODS, mirror_of(pod, node), namespace_of(pod))
        except StatusError as error:
            if not is_already_exists(error):
                raise

    async def _delete(self, mirror: Object) -> None:
        options: dict[str, Any] = {"grace_period": 0, "uid": uid_of(mirror)}
        try:
            await self._client.delete(PODS, name_of(mirror), namespace_of(mirror), **options)
        except StatusError as error:
            if not is_not_found(error) and error.reason != "Conflict":
                raise
