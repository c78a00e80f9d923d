"""Volumes of the node's own driver: made, filled, grown, photographed, restored and taken away."""

from __future__ import annotations

from functools import partial
from typing import Any

from kumo.api.conditions import is_true
from kumo.api.objects import Object, name_of, uid_of
from kumo.api.resources import GVR, PODS, core
from support.storm.site import Site, pod_spec

CLAIMS, VOLUMES = core("persistentvolumeclaims"), core("persistentvolumes", False)
SNAPSHOTS = GVR("snapshot.storage.k8s.io", "v1", "volumesnapshots")
_SPACE = "storm-volumes"


def _claim(name: str, size: str, source: str = "") -> Object:
    spec: dict[str, Any] = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
    if source:
        spec["dataSource"] = {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": source}
    return {"kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": _SPACE}, "spec": spec}


def _size(claim: Object) -> str:
    return str(claim["status"]["capacity"]["storage"])


async def _user(site: Site, name: str, script: str, claim: str) -> None:
    """Run the script to its end in a pod that has the claim at /data; it may be run twice. Raises AssertionError."""
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": claim}}
    spec = pod_spec(
        script,
        volumeMounts=[{"name": "data", "mountPath": "/data"}],
        pod_volumes=[volume],
        pod_restartPolicy="Never",
    )
    while True:
        await site.apply(PODS, {"kind": "Pod", "metadata": {"name": name, "namespace": _SPACE}, "spec": spec})
        pod: Object = await site.until(lambda: _ended(site, name), f"the end of pod {name}", 120)
        await site.delete(PODS, name, _SPACE, grace_period=1)
        await site.until(partial(_is_gone, site, pod), f"pod {name} gone")
        if pod["status"]["phase"] == "Succeeded":
            return
        # Who starts a container and is killed has failed it, as upstream's; nothing else may fail.
        ends = [c["state"].get("terminated") or {} for c in pod["status"].get("containerStatuses") or ()]
        lost = ("StartError", "ContainerStatusUnknown", "Unknown", None)
        assert not ends or ends[0].get("reason") in lost, f"{name}: {ends}"
        site.count("pods lost as they started")


async def _ended(site: Site, name: str) -> Object | None:
    pod = await site.get(PODS, name, _SPACE)
    return pod if pod and pod["status"].get("phase") in ("Succeeded", "Failed") else None


async def _is_gone(site: Site, pod: Object) -> bool:
    """Gone from the node too: the API server lets a pod that ended go at once, its volumes are unmounted after that.

    Who mounts the volume before keeps it mounted, and no mounted ext4 grows on a machine without CAP_SYS_RESOURCE.
    """
    if await site.get(PODS, name_of(pod), _SPACE) is not None:
        return False
    return not (site.cloud.data_dir / "node" / "pods" / uid_of(pod)).exists()


async def _grown(site: Site, claim: str) -> None:
    """The claim has its new size, or gets it as the next pod mounts its volume. Raises AssertionError.

    Who is killed between the mount and the claim's status leaves the rest to the next mount.
    """
    for attempt in range(4):
        found = await site.get(CLAIMS, claim, _SPACE)
        if found and _size(found) == "24Mi" and not is_true(found, "Resizing"):
            return
        site.count("volumes that grew later")
        await _user(site, f"grows-{claim}-{attempt}", "true", claim)
    raise AssertionError(f"{claim} does not grow: {await site.get(CLAIMS, claim, _SPACE)}")


async def volumes(site: Site) -> None:
    """One claim after the other through its whole life, with what was written in it."""
    await site.namespace(_SPACE)
    number = 0
    while site.going:
        number += 1
        first, second, photo = f"first-{number}", f"second-{number}", f"photo-{number}"
        await site.apply(CLAIMS, _claim(first, "16Mi"))
        await _user(
            site,
            f"writes-{number}",
            f"grep -sqv '^{number}$' /data/f && exit 1; echo {number} > /data/f && sync",
            first,
        )
        await site.apply(CLAIMS, _claim(first, "24Mi"))
        snapshot = {
            "kind": "VolumeSnapshot",
            "metadata": {"name": photo, "namespace": _SPACE},
            "spec": {"source": {"persistentVolumeClaimName": first}},
        }
        await site.apply(SNAPSHOTS, snapshot)

        async def usable(photo: str = photo) -> bool:
            found = await site.get(SNAPSHOTS, photo, _SPACE)
            return bool(found and (found.get("status") or {}).get("readyToUse"))

        await site.until(usable, f"snapshot {photo}")

        # The volume is larger; to grow a mounted ext4 takes a capability that not every machine gives.
        async def larger(first: str = first) -> bool:
            found = await site.get(CLAIMS, first, _SPACE)
            return bool(found and (is_true(found, "FileSystemResizePending") or _size(found) == "24Mi"))

        await site.until(larger, f"the volume of {first} larger")
        await _user(
            site, f"spoils-{number}", f"grep -q '^{number}$\\|^spoilt$' /data/f && echo spoilt > /data/f", first
        )
        await _grown(site, first)

        await site.apply(CLAIMS, _claim(second, "24Mi", photo))
        await _user(site, f"reads-{number}", f'test "$(cat /data/f)" = {number}', second)
        for gvr, name in ((CLAIMS, second), (SNAPSHOTS, photo), (CLAIMS, first)):
            await site.delete(gvr, name, _SPACE)

        async def gone() -> bool:
            left = await site.answered(lambda: site.client.list(VOLUMES))
            return left is not None and not [
                v for v in left.items if (v["spec"].get("claimRef") or {}).get("namespace") == _SPACE
            ]

        await site.until(gone, "the volumes gone")
        site.count("volumes")
