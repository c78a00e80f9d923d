"""Volumes of kinds that were once built into Kubernetes and are CSI drivers' now: who is who.

Facts of `k8s.io/csi-translation-lib`; what such a volume becomes is the driver's sidecars' work.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kumo.api.objects import Object

MIGRATED_TO = "pv.kubernetes.io/migrated-to"
"""On a claim or a volume: the CSI driver that stands for the built-in plugin it names."""

_DRIVERS = {
    "kubernetes.io/aws-ebs": "ebs.csi.aws.com",
    "kubernetes.io/gce-pd": "pd.csi.storage.gke.io",
    "kubernetes.io/cinder": "cinder.csi.openstack.org",
    "kubernetes.io/azure-disk": "disk.csi.azure.com",
    "kubernetes.io/azure-file": "file.csi.azure.com",
    "kubernetes.io/vsphere-volume": "csi.vsphere.vmware.com",
    "kubernetes.io/portworx-volume": "pxd.portworx.com",
}
_SOURCES = {
    "awsElasticBlockStore": "kubernetes.io/aws-ebs",
    "gcePersistentDisk": "kubernetes.io/gce-pd",
    "cinder": "kubernetes.io/cinder",
    "azureDisk": "kubernetes.io/azure-disk",
    "azureFile": "kubernetes.io/azure-file",
    "vsphereVolume": "kubernetes.io/vsphere-volume",
    "portworxVolume": "kubernetes.io/portworx-volume",
}


def plugins() -> list[str]:
    """The names of all built-in plugins that have become CSI drivers."""
    return sorted(_DRIVERS)


def driver_of(plugin: str) -> str:
    """The CSI driver that a built-in plugin became; empty for any other provisioner."""
    return _DRIVERS.get(plugin, "")


def plugin_of(volume: Object) -> str:
    """The former built-in plugin of a PersistentVolume's source; empty if it has none."""
    spec = volume.get("spec") or {}
    return next((plugin for field, plugin in _SOURCES.items() if spec.get(field)), "")


def with_migration(annotations: Mapping[str, str], provisioner: str) -> dict[str, Any]:
    """The annotations with `MIGRATED_TO` as the provisioner wants it."""
    driver = driver_of(provisioner)
    wanted = {k: v for k, v in annotations.items() if k != MIGRATED_TO}
    return wanted | {MIGRATED_TO: driver} if driver else wanted
