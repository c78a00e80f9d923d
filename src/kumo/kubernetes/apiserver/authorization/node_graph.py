"""Which node has to do with which object: kept in step with pods and volumes, but only once a node has asked."""

from __future__ import annotations

from kumo.api.objects import Object
from kumo.api.resources import GVR, PODS
from kumo.kubernetes.apiserver.attributes import Reader
from kumo.kubernetes.apiserver.authorization.pod_references import Target, named_by_pod, secrets_of_volume

VOLUMES = GVR("", "v1", "persistentvolumes", False)
ATTACHMENTS = GVR("storage.k8s.io", "v1", "volumeattachments", False)
SLICES = GVR("resource.k8s.io", "v1", "resourceslices", False)
_SPARE = 4096
_Key = tuple[str, str]


class _Changed:
    """The keys of one resource that changed since they were last looked at; `every` when they are too many to tell."""

    def __init__(self, reader: Reader, gvr: GVR) -> None:
        self.every = True
        self.keys: set[_Key] = set()
        reader.listen(gvr, self._note)

    def _note(self, namespace: str, name: str) -> None:
        if self.every:
            return
        self.keys.add((namespace, name))
        if len(self.keys) > _SPARE:
            self.every = True
            self.keys.clear()

    def take(self) -> tuple[bool, set[_Key]]:
        """Whether everything must be read anew, and else the keys; both are forgotten."""
        found = (self.every, self.keys)
        self.every, self.keys = False, set()
        return found


class NodeGraph:
    """Answers `related`. A change costs a set entry when it happens, and is read when the next node asks."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._changed: tuple[_Changed, _Changed] | None = None
        self._pods: dict[_Key, tuple[str, set[Target]]] = {}
        self._users: dict[Target, dict[str, int]] = {}
        self._volumes: dict[str, set[Target]] = {}
        self._mounted: dict[Target, set[str]] = {}

    def related(self, node: str, resource: str, namespace: str, name: str) -> bool:
        """Whether the object belongs to the node or to something that runs there."""
        if resource == "pods":
            return self._on_node(self._reader.get(PODS, name, namespace), node)
        if resource == "volumeattachments":
            return self._on_node(self._reader.get(ATTACHMENTS, name), node)
        if resource == "resourceslices":
            return self._on_node(self._reader.get(SLICES, name), node)
        self._refresh()
        if resource == "persistentvolumes":
            return self._uses_volume(node, name)
        target = (resource, namespace, name)
        if node in self._users.get(target, ()):
            return True
        return any(self._uses_volume(node, volume) for volume in self._mounted.get(target, ()))

    @staticmethod
    def _on_node(obj: Object | None, node: str) -> bool:
        return obj is not None and (obj.get("spec") or {}).get("nodeName") == node

    def _uses_volume(self, node: str, name: str) -> bool:
        volume = self._reader.get(VOLUMES, name)
        claim = ((volume or {}).get("spec") or {}).get("claimRef") or {}
        target = ("persistentvolumeclaims", claim.get("namespace") or "", claim.get("name") or "")
        return node in self._users.get(target, ())

    # -- keeping in step --------------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        if self._changed is None:
            self._changed = (_Changed(self._reader, PODS), _Changed(self._reader, VOLUMES))
        every, keys = self._changed[0].take()
        if every:
            self._pods.clear()
            self._users.clear()
            for pod in self._reader.objects(PODS):
                self._add_pod((pod["metadata"].get("namespace") or "", pod["metadata"]["name"]), pod)
        for key in keys:
            self._drop_pod(key)
            found = self._reader.get(PODS, key[1], key[0])
            if found is not None:
                self._add_pod(key, found)
        every, keys = self._changed[1].take()
        if every:
            self._volumes.clear()
            self._mounted.clear()
            for volume in self._reader.objects(VOLUMES):
                self._add_volume(volume["metadata"]["name"], volume)
        for _, name in keys:
            self._drop_volume(name)
            found = self._reader.get(VOLUMES, name)
            if found is not None:
                self._add_volume(name, found)

    def _add_pod(self, key: _Key, pod: Object) -> None:
        node = (pod.get("spec") or {}).get("nodeName")
        if not node:
            return
        targets = named_by_pod(pod)
        self._pods[key] = (node, targets)
        for target in targets:
            nodes = self._users.setdefault(target, {})
            nodes[node] = nodes.get(node, 0) + 1

    def _drop_pod(self, key: _Key) -> None:
        node, targets = self._pods.pop(key, ("", set()))
        for target in targets:
            nodes = self._users[target]
            nodes[node] -= 1
            if not nodes[node]:
                del nodes[node]
            if not nodes:
                del self._users[target]

    def _add_volume(self, name: str, volume: Object) -> None:
        if not (volume.get("spec") or {}).get("claimRef"):
            return
        targets = secrets_of_volume(volume)
        if targets:
            self._volumes[name] = targets
            for target in targets:
                self._mounted.setdefault(target, set()).add(name)

    def _drop_volume(self, name: str) -> None:
        for target in self._volumes.pop(name, set()):
            self._mounted[target].discard(name)
            if not self._mounted[target]:
                del self._mounted[target]
