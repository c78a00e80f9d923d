"""What snapshots, their contents and their sources are marked with. Interface facts of snapshot.storage.k8s.io."""

from __future__ import annotations

from kumo.api.resources import GVR

GROUP = "snapshot.storage.k8s.io"
SNAPSHOTS = GVR(GROUP, "v1", "volumesnapshots")
CONTENTS = GVR(GROUP, "v1", "volumesnapshotcontents", False)
CLASSES = GVR(GROUP, "v1", "volumesnapshotclasses", False)
_DOMAIN = "snapshot.storage.kubernetes.io"
CONTENT_FINALIZER = f"{_DOMAIN}/volumesnapshotcontent-bound-protection"
BOUND_FINALIZER = f"{_DOMAIN}/volumesnapshot-bound-protection"
SOURCE_FINALIZER = f"{_DOMAIN}/volumesnapshot-as-source-protection"
CLAIM_FINALIZER = f"{_DOMAIN}/pvc-as-source-protection"
DEFAULT_CLASS = f"{_DOMAIN}/is-default-class"
BEING_DELETED = f"{_DOMAIN}/volumesnapshot-being-deleted"
SECRET_NAME = f"{_DOMAIN}/deletion-secret-name"
SECRET_NAMESPACE = f"{_DOMAIN}/deletion-secret-namespace"
MANAGED_BY = f"{_DOMAIN}/managed-by"
"""On a content: the node whose driver has the volume, for drivers that serve one node each."""
