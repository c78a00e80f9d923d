"""Freed volumes with the old policy Recycle: a pod empties the volume, which then is free for another claim.

`scrubber` and `outcome` are pure; `Recycler` is the shell. The pod is found again by its name, so that a controller
that was killed goes on where it stood. Source: the recycler pods of upstream's hostPath and NFS plugins.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kumo.api.errors import StatusError, is_already_exists, is_not_found
from kumo.api.objects import Key, Object, is_deleting, name_of, namespace_of
from kumo.api.resources import PODS
from kumo.api.volume_claims import capacity
from kumo.machinery.client import Client
from kumo.machinery.informer import Informer

NAMESPACE = "default"
_PREFIX = "recycler-for-"
_IMAGE = "registry.k8s.io/build-image/debian-base:bookworm-v1.0.6"
_EMPTY = 'test -e /scrub && find /scrub -mindepth 1 -delete && test -z "$(ls -A /scrub)" || exit 1'
_LEAST = {"hostPath": 60, "nfs": 300}
"""The kinds of volumes that can be emptied, and the seconds that this may take at least; more for each GiB."""
_PER_GIBIBYTE = 30


def can_recycle(volume: Object) -> bool:
    """Whether a pod can empty the volume."""
    return any((volume.get("spec") or {}).get(kind) for kind in _LEAST)


def scrubber(volume: Object) -> Object:
    """The pod that empties the volume."""
    spec = volume["spec"]
    kind = next(kind for kind in _LEAST if spec.get(kind))
    source: dict[str, Any] = {"path": spec[kind].get("path")}
    if kind == "nfs":
        source["server"] = spec[kind].get("server")
    seconds = max(_LEAST[kind], int(capacity(volume) / (1 << 30)) * _PER_GIBIBYTE)
    container = {
        "name": "pv-recycler",
        "image": _IMAGE,
        "command": ["/bin/sh"],
        "args": ["-c", _EMPTY],
        "volumeMounts": [{"name": "vol", "mountPath": "/scrub"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": _PREFIX + name_of(volume), "namespace": NAMESPACE},
        "spec": {
            "activeDeadlineSeconds": seconds,
            "restartPolicy": "Never",
            "volumes": [{"name": "vol", kind: source}],
            "containers": [container],
        },
    }


def outcome(pod: Object) -> str | None:
    """What became of the volume: empty for success, else why not; None while the pod is at work."""
    status = pod.get("status") or {}
    if status.get("phase") == "Succeeded":
        return ""
    if status.get("phase") == "Failed":
        why = status.get("message") or "pod failed, pod.Status.Message unknown"
        return f"Recycle failed: failed to recycle volume: {why}"
    return None


def users(pods: Iterable[Object]) -> list[str]:
    """Those of the pods that have not ended."""
    ended = ("Succeeded", "Failed")
    return sorted(
        f"{namespace_of(pod)}/{name_of(pod)}" for pod in pods if (pod.get("status") or {}).get("phase") not in ended
    )


def volume_of(pod: Object) -> list[Key]:
    """The volume that a scrubber is for."""
    name = name_of(pod)
    return [Key("", name[len(_PREFIX) :])] if namespace_of(pod) == NAMESPACE and name.startswith(_PREFIX) else []


class Recycler:
    """Runs scrubbers."""

    def __init__(self, client: Client, pods: Informer) -> None:
        self._client = client
        self._pods = pods

    async def recycle(self, volume: Object) -> str | None:
        """Go on with emptying the volume; what became of it, as `outcome`, once that is known."""
        wanted = scrubber(volume)
        pod = self._pods.get(name_of(wanted), NAMESPACE)
        if pod is None:
            try:
                await self._client.create(PODS, wanted)
            except StatusError as error:
                if not is_already_exists(error):
                    return f"Recycle failed: unexpected error creating recycler pod:  {error}"
            return None
        if is_deleting(pod):
            return None
        found = outcome(pod)
        if found is not None:
            try:
                await self._client.delete(PODS, name_of(pod), NAMESPACE)
            except StatusError as error:
                if not is_not_found(error):
                    raise
        return found
