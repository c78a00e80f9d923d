"""A CSI volume as a pod wants it, whether from a PersistentVolume or written in the pod itself. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kumo.api.csi_names import unique_name
from kumo.api.objects import Object, name_of, namespace_of, uid_of
from kumo.kubernetes.kubelet.csi.places import inline_handle

VolumeKey = tuple[str, str]
"""A volume: its driver and its handle."""


@dataclass(frozen=True, slots=True)
class VolumeSpec:
    """One volume of one pod."""

    name: str
    """The PersistentVolume's, or that of the pod's volume when it is inline."""
    driver: str
    handle: str
    volume: str = ""
    """What the pod calls it."""
    claim: tuple[str, str] = ("", "")
    """Namespace and name of the claim that the PersistentVolume is bound to."""
    ephemeral: bool = False
    block: bool = False
    read_only: bool = False
    fs_type: str = ""
    modes: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """What for (`nodeStageSecretRef`, ...) -> namespace and name."""

    @property
    def key(self) -> VolumeKey:
        """The volume itself."""
        return self.driver, self.handle

    @property
    def unique_name(self) -> str:
        """What it is called in the Node's status."""
        return unique_name(self.driver, self.handle)


def persistent(volume: Object, name: str, *, read_only: bool) -> VolumeSpec:
    """That of a PersistentVolume with a CSI source, which the pod calls `name`; `read_only` as the pod says."""
    spec = volume["spec"]
    source, claim = spec["csi"], spec.get("claimRef") or {}
    refs = {
        field: (source[field].get("namespace") or "", source[field].get("name") or "")
        for field in ("nodeStageSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef")
        if source.get(field)
    }
    return VolumeSpec(
        name=name_of(volume),
        driver=source["driver"],
        handle=source["volumeHandle"],
        volume=name,
        claim=(claim.get("namespace") or "", claim.get("name") or ""),
        block=spec.get("volumeMode") == "Block",
        read_only=read_only or bool(source.get("readOnly")),
        fs_type=source.get("fsType") or "",
        modes=tuple(spec.get("accessModes") or ()),
        options=tuple(spec.get("mountOptions") or ()),
        attributes=dict(source.get("volumeAttributes") or {}),
        secrets=refs,
    )


def inline(pod: Object, volume: Mapping[str, Any]) -> VolumeSpec:
    """That of a volume of type csi in a pod."""
    source = volume["csi"]
    ref = source.get("nodePublishSecretRef")
    return VolumeSpec(
        name=volume["name"],
        driver=source["driver"],
        handle=inline_handle(uid_of(pod), volume["name"]),
        volume=volume["name"],
        ephemeral=True,
        read_only=bool(source.get("readOnly")),
        fs_type=source.get("fsType") or "",
        attributes=dict(source.get("volumeAttributes") or {}),
        secrets={"nodePublishSecretRef": (namespace_of(pod), ref.get("name") or "")} if ref else {},
    )
