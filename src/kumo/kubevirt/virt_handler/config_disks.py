"""Config maps, Secrets and the like that a VMI has as disks: their files, for an ISO image (upstream: `pkg/config`).

The kubelet has mounted them in the pod, so that items, optional ones and downward API fields are its work.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from kumo.api.objects import Object
from kumo.kubevirt.common import launcher_contract as contract
from kumo.kubevirt.virt_handler import pod_files

_LABEL = "cfgdata"
_SYSPREP_LABEL = "unattendCD"
_LIMIT = 16 << 20
DIRECTORIES = {
    "configMap": "config-map",
    "secret": "secret",
    "downwardAPI": "downwardapi",
    "sysprep": "sysprep",
    "serviceAccount": "",
}
"""Below the private directory there is one directory for each kind, and in it one for each volume's name."""
_TOKEN_DIRECTORY = "/var/run/secrets/kubernetes.io/serviceaccount"


@dataclass(frozen=True, slots=True)
class Contents:
    """The files of one image, and its volume label."""

    files: Mapping[str, bytes]
    label: str


def contents(root: int, vmi: Object) -> dict[str, Contents]:
    """The contents of each such volume that is a disk, by its name; `root` is the pod's root directory. Blocks.

    Raises ValueError when the files are not in the pod.
    """
    disks = {d["name"] for d in (vmi["spec"]["domain"].get("devices") or {}).get("disks") or ()}
    found: dict[str, Contents] = {}
    for volume in vmi["spec"].get("volumes") or ():
        kind = next((k for k in DIRECTORIES if volume.get(k) is not None), None)
        if kind is None or volume["name"] not in disks:
            continue
        path = f"{contract.PRIVATE_DIR}/{DIRECTORIES[kind]}/{volume['name']}"
        if kind == "serviceAccount":
            path = _TOKEN_DIRECTORY
        label = volume[kind].get("volumeLabel") or (_SYSPREP_LABEL if kind == "sysprep" else _LABEL)
        found[volume["name"]] = Contents(_files(root, path), label)
    return found


def _files(root: int, path: str) -> dict[str, bytes]:
    """The files that the directory shows; what begins with `..` is the kubelet's machinery of atomic updates."""
    try:
        directory = pod_files.open_in(root, path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise ValueError(f"{path} is not in the pod: {error.strerror}") from None
    try:
        names = sorted(n for n in os.listdir(directory) if not n.startswith(".."))  # noqa: PTH208
    finally:
        os.close(directory)
    return {name: pod_files.read(root, f"{path}/{name}", _LIMIT) for name in names}
