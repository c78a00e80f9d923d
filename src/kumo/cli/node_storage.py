"""The storage of a node, as the node process takes it in, and the rights of who makes its volumes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from kumo.api.errors import StatusError, is_already_exists, is_not_found
from kumo.api.node_components import CSI_USER
from kumo.api.objects import Object
from kumo.api.resources import CLUSTERROLEBINDINGS, CLUSTERROLES, CRDS, GVR
from kumo.cli.instance import Instance
from kumo.kubernetes.csi_controllers.config import CsiControllersConfig
from kumo.kubernetes.csi_controllers.rights import RULES
from kumo.kubernetes.local_csi.config import DRIVER, LocalCsiConfig
from kumo.kubernetes.local_csi.objects import STORAGE_CLASS
from kumo.kubernetes.snapshot_controller.definitions import definitions
from kumo.kubernetes.snapshot_controller.names import CLASSES, DEFAULT_CLASS
from kumo.kubernetes.snapshot_controller.rights import rights
from kumo.machinery.client import Client

if TYPE_CHECKING:
    from kumo.kubernetes.csi_controllers.component import CsiControllers

_TRIES = 100
_RBAC = "rbac.authorization.k8s.io"


def storage_rights() -> list[tuple[GVR, Object]]:
    """What the controllers of the nodes' own driver may do. They read no Secrets: the driver wants none."""
    meta = {"name": CSI_USER}
    role: Object = {"apiVersion": f"{_RBAC}/v1", "kind": "ClusterRole", "metadata": meta, "rules": RULES}
    binding: Object = {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": meta,
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": CSI_USER},
        "subjects": [{"kind": "User", "apiGroup": _RBAC, "name": CSI_USER}],
    }
    return [(CLUSTERROLES, role), (CLUSTERROLEBINDINGS, binding)]


def snapshot_objects() -> list[tuple[GVR, Object]]:
    """The custom resources of snapshots, and the rights of their controller and users."""
    return [*((CRDS, crd) for crd in definitions()), *rights()]


async def install_snapshot_class(client: Client) -> None:
    """Make the default VolumeSnapshotClass of the nodes' own driver, unless it is there. Raises StatusError."""
    wanted: Object = {
        "apiVersion": CLASSES.api_version,
        "kind": "VolumeSnapshotClass",
        "metadata": {"name": STORAGE_CLASS, "annotations": {DEFAULT_CLASS: "true"}},
        "driver": DRIVER,
        "deletionPolicy": "Delete",
    }
    for attempt in range(_TRIES):
        try:
            await client.create(CLASSES, wanted)
        except StatusError as error:
            if is_already_exists(error):
                return
            if not is_not_found(error) or attempt == _TRIES - 1:
                raise
            await asyncio.sleep(0.05)  # The definition was just written and is served in a moment.
        else:
            return


def local_driver(instance: Instance) -> LocalCsiConfig:
    """The node's own driver: its sockets are where those of any driver are."""
    return LocalCsiConfig(
        node_name=instance.node_name,
        directory=instance.root / "volumes",
        socket=instance.node_dir / "plugins" / DRIVER / "csi.sock",
        registration=instance.node_dir / "plugins_registry" / f"{DRIVER}-reg.sock",
    )


def volume_controllers(instance: Instance, client: Client) -> CsiControllers:
    """What makes, grows and copies the volumes of this node, by the node's own driver."""
    from kumo.kubernetes.csi_controllers.component import CsiControllers  # gRPC is for the node alone

    config = CsiControllersConfig(
        socket=str(local_driver(instance).socket), node=instance.node_name, extra_metadata=True
    )
    return CsiControllers(config, client)
