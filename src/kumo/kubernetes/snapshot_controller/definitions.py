"""The custom resources of snapshot.storage.k8s.io/v1: VolumeSnapshot, VolumeSnapshotContent, VolumeSnapshotClass.

Fields, rules, columns and short names are upstream's, whose clients and sidecars rely on them.
"""

from __future__ import annotations

from typing import Any

from kumo.api.objects import Object
from kumo.kubernetes.snapshot_controller.names import GROUP

_APPROVED = "https://github.com/kubernetes-csi/external-snapshotter/pull/"
_QUANTITY = (
    r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|"
    r"([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
)

Schema = dict[str, Any]


def definitions() -> list[Object]:
    """The three CustomResourceDefinitions."""
    return [_snapshots(), _contents(), _classes()]


def _text(what: str, **more: Any) -> Schema:
    return {"type": "string", "description": what, **more}


def _fields(what: str, properties: Schema, **more: Any) -> Schema:
    return {"type": "object", "description": what, "properties": properties, **more}


def _fixed(name: str) -> list[Schema]:
    return [{"rule": "self == oldSelf", "message": f"{name} is immutable"}]


def _kept(name: str) -> Schema:
    rule = f"!has(oldSelf.{name}) || has(self.{name})"
    return {"rule": rule, "message": f"{name} is required once set"}


def _one_of(first: str, second: str, told: tuple[str, str]) -> Schema:
    a, b = f"has(self.{first})", f"has(self.{second})"
    rule = f"({a} && !{b}) || (!{a} && {b})"
    return {"rule": rule, "message": f"exactly one of {told[0]} and {told[1]} must be set"}


def _head() -> Schema:
    return {
        "apiVersion": _text("The version of this form of the object."),
        "kind": _text("The kind of the object."),
        "metadata": {"type": "object"},
    }


def _error() -> Schema:
    when = _text("When it went wrong.", format="date-time")
    what = _text("What went wrong. It may be logged: no secrets here.")
    return _fields("The last thing that went wrong; gone once it went well.", {"message": what, "time": when})


def _column(name: str, path: str, kind: str = "string", what: str = "") -> Schema:
    made = {"name": name, "type": kind, "jsonPath": path}
    return made | ({"description": what} if what else {})


def _definition(
    names: tuple[str, str, tuple[str, ...]], approved: int, schema: Schema, columns: list[Schema], *, cluster: bool
) -> Object:
    kind, plural, short = names
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}} if "status" in schema["properties"] else {},
        "additionalPrinterColumns": [*columns, _column("Age", ".metadata.creationTimestamp", "date")],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.{GROUP}",
            "annotations": {"api-approved.kubernetes.io": f"{_APPROVED}{approved}"},
        },
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": list(short),
            },
            "scope": "Cluster" if cluster else "Namespaced",
            "versions": [version],
        },
    }


def _snapshots() -> Object:
    claim, content = "persistentVolumeClaimName", "volumeSnapshotContentName"
    source = _fields(
        "What the snapshot is of. It can't be changed.",
        {
            claim: _text(
                "The claim, in the snapshot's namespace, whose volume a snapshot is to be cut of.",
                **{"x-kubernetes-validations": _fixed(claim)},
            ),
            content: _text(
                "The content that stands for a snapshot which is there already.",
                **{"x-kubernetes-validations": _fixed(content)},
            ),
        },
        **{"x-kubernetes-validations": [_kept(claim), _kept(content), _one_of(content, claim, (content, claim))]},
    )
    filled = {"rule": "size(self) > 0", "message": "volumeSnapshotClassName must not be the empty string when set"}
    chosen = _text(
        "The VolumeSnapshotClass; without one the default class of the volume's driver.",
        **{"x-kubernetes-validations": [filled]},
    )
    size = {
        "description": "The least size of a volume that is made of the snapshot.",
        "type": "string",
        "pattern": _QUANTITY,
        "x-kubernetes-int-or-string": True,
    }
    status = _fields(
        "What became of it. Whoever uses a snapshot checks that it and its content name each other.",
        {
            "boundVolumeSnapshotContentName": _text("The content that the snapshot is bound to."),
            "creationTime": _text("When the snapshot was cut.", format="date-time"),
            "error": _error(),
            "readyToUse": {"type": "boolean", "description": "Whether volumes can be made of it."},
            "restoreSize": size,
            "volumeGroupSnapshotName": _text("The group snapshot that it is part of."),
        },
    )
    spec = _fields("What is wanted.", {"source": source, "volumeSnapshotClassName": chosen}, required=["source"])
    what = "A user's wish for a snapshot of a volume, or claim to one that is there."
    schema = _fields(what, {**_head(), "spec": spec, "status": status}, required=["spec"])
    columns = [
        _column("ReadyToUse", ".status.readyToUse", "boolean", "Whether volumes can be made of it."),
        _column("SourcePVC", f".spec.source.{claim}", what="The claim that it was cut of."),
        _column("SourceSnapshotContent", f".spec.source.{content}", what="The content that was given."),
        _column("RestoreSize", ".status.restoreSize", what="The least size of volumes made of it."),
        _column("SnapshotClass", ".spec.volumeSnapshotClassName", what="Its class."),
        _column("SnapshotContent", ".status.boundVolumeSnapshotContentName", what="The content it is bound to."),
        _column("CreationTime", ".status.creationTime", "date", "When it was cut."),
    ]
    names = ("VolumeSnapshot", "volumesnapshots", ("vs",))
    return _definition(names, 814, schema, columns, cluster=False)


def _contents() -> Object:
    volume, snapshot, mode = "volumeHandle", "snapshotHandle", "sourceVolumeMode"
    source = _fields(
        "What stands behind the content. It can't be changed.",
        {
            snapshot: _text(
                "The driver's id of a snapshot that is there already.", **{"x-kubernetes-validations": _fixed(snapshot)}
            ),
            volume: _text(
                "The driver's id of the volume that a snapshot is to be cut of.",
                **{"x-kubernetes-validations": _fixed(volume)},
            ),
        },
        **{"x-kubernetes-validations": [_kept(volume), _kept(snapshot), _one_of(volume, snapshot, (volume, snapshot))]},
    )
    both = {
        "rule": "has(self.name) && has(self.__namespace__)",
        "message": "both spec.volumeSnapshotRef.name and spec.volumeSnapshotRef.namespace must be set",
    }
    names = ("apiVersion", "fieldPath", "kind", "name", "namespace", "resourceVersion", "uid")
    ref = _fields(
        "The VolumeSnapshot that the content is for.",
        {name: {"type": "string"} for name in names},
        **{"x-kubernetes-map-type": "atomic", "x-kubernetes-validations": [both]},
    )
    policy = _text("Whether the snapshot itself is deleted with its VolumeSnapshot.", enum=["Delete", "Retain"])
    spec = _fields(
        "What the content stands for.",
        {
            "deletionPolicy": policy,
            "driver": _text("The CSI driver."),
            "source": source,
            mode: _text("The mode of the volume that was cut.", **{"x-kubernetes-validations": _fixed(mode)}),
            "volumeSnapshotClassName": _text("The class that it was made by."),
            "volumeSnapshotRef": ref,
        },
        required=["deletionPolicy", "driver", "source", "volumeSnapshotRef"],
        **{"x-kubernetes-validations": [_kept(mode)]},
    )
    number = {"type": "integer", "format": "int64"}
    status = _fields(
        "What the driver says of it.",
        {
            "creationTime": {**number, "description": "When it was cut, in nanoseconds since 1970."},
            "error": _error(),
            "readyToUse": {"type": "boolean", "description": "Whether volumes can be made of it."},
            "restoreSize": {**number, "minimum": 0, "description": "The least size of such volumes, in bytes."},
            "snapshotHandle": _text("The driver's id of the snapshot."),
            "volumeGroupSnapshotHandle": _text("The driver's id of the group snapshot that it is part of."),
        },
    )
    what = "A snapshot on a storage system, whether the cluster had it cut or was told of it."
    schema = _fields(what, {**_head(), "spec": spec, "status": status}, required=["spec"])
    columns = [
        _column("ReadyToUse", ".status.readyToUse", "boolean", "Whether volumes can be made of it."),
        _column("RestoreSize", ".status.restoreSize", "integer", "The least size of such volumes, in bytes."),
        _column("DeletionPolicy", ".spec.deletionPolicy", what="Whether it goes with its VolumeSnapshot."),
        _column("Driver", ".spec.driver", what="The CSI driver."),
        _column("VolumeSnapshotClass", ".spec.volumeSnapshotClassName", what="The class that it was made by."),
        _column("VolumeSnapshot", ".spec.volumeSnapshotRef.name", what="The VolumeSnapshot that it is for."),
        _column("VolumeSnapshotNamespace", ".spec.volumeSnapshotRef.namespace", what="And where that is."),
    ]
    called = ("VolumeSnapshotContent", "volumesnapshotcontents", ("vsc", "vscs"))
    return _definition(called, 955, schema, columns, cluster=True)


def _classes() -> Object:
    properties = {
        **_head(),
        "deletionPolicy": _text("What becomes of snapshots when theirs is deleted.", enum=["Delete", "Retain"]),
        "driver": _text("The CSI driver that cuts them."),
        "parameters": {
            "type": "object",
            "description": "What the driver is told.",
            "additionalProperties": {"type": "string"},
        },
    }
    what = "How snapshots are cut: by which driver, with which parameters."
    schema = _fields(what, properties, required=["deletionPolicy", "driver"])
    columns = [
        _column("Driver", ".driver", what="The CSI driver that cuts them."),
        _column("DeletionPolicy", ".deletionPolicy", what="What becomes of them."),
    ]
    names = ("VolumeSnapshotClass", "volumesnapshotclasses", ("vsclass", "vsclasses"))
    return _definition(names, 814, schema, columns, cluster=True)
