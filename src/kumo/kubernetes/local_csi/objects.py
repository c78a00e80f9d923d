"""The driver's objects: how the cluster is to use it, and the storage class that everybody gets who names none."""

from __future__ import annotations

from kumo.api.objects import Object
from kumo.api.resources import GVR
from kumo.kubernetes.local_csi.config import DRIVER

CSI_DRIVERS = GVR("storage.k8s.io", "v1", "csidrivers", False)
STORAGE_CLASSES = GVR("storage.k8s.io", "v1", "storageclasses", False)
STORAGE_CLASS = "local"


def objects() -> list[tuple[GVR, Object]]:
    """What `kumo up` creates if it is not there."""
    driver: Object = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "CSIDriver",
        "metadata": {"name": DRIVER},
        "spec": {
            # A file of the node's own disk: there is nothing to attach.
            "attachRequired": False,
            "podInfoOnMount": True,
            "volumeLifecycleModes": ["Persistent", "Ephemeral"],
            "storageCapacity": True,
            "fsGroupPolicy": "File",
            "requiresRepublish": False,
            "seLinuxMount": False,
        },
    }
    storage_class: Object = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": STORAGE_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": DRIVER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
        "allowVolumeExpansion": True,
    }
    return [(CSI_DRIVERS, driver), (STORAGE_CLASSES, storage_class)]
