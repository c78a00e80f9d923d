"""Warnings about volumes: kinds that work no more, files in the same place, odd claims."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kumo.kubernetes.apiserver.kinds.claim_warnings import claim_warnings

_DEPRECATED = {
    "photonPersistentDisk": "deprecated in v1.11, non-functional in v1.16+",
    "gitRepo": "deprecated in v1.11, and disabled by default in v1.33+",
    "scaleIO": "deprecated in v1.16, non-functional in v1.22+",
    "flocker": "deprecated in v1.22, non-functional in v1.25+",
    "storageos": "deprecated in v1.22, non-functional in v1.25+",
    "quobyte": "deprecated in v1.22, non-functional in v1.25+",
    "glusterfs": "deprecated in v1.25, non-functional in v1.26+",
    "ephemeral": "",
    "cephfs": "deprecated in v1.28, non-functional in v1.31+",
    "rbd": "deprecated in v1.28, non-functional in v1.31+",
}
_SHOWN = {"storageos": "storageOS"}
_File = tuple[str, str]
"""Where a file is in a volume, and what it comes from."""


def volume_warnings(path: str, volumes: Any) -> Iterator[str]:
    """Of kinds of volumes."""
    for index, volume in enumerate(volumes):
        for kind in volume:
            if kind == "ephemeral":
                template = (volume[kind] or {}).get("volumeClaimTemplate")
                if template is not None:
                    below = f"{path}[{index}].ephemeral.volumeClaimTemplate.spec"
                    yield from claim_warnings(below, template.get("spec") or {})
            elif kind in _DEPRECATED:
                yield f"{path}[{index}].{_SHOWN.get(kind, kind)}: {_DEPRECATED[kind]}"


def overlap_warnings(volumes: Any) -> Iterator[str]:
    """Of files that would lie in the same place."""
    for volume in volumes:
        name = volume.get("name") or ""
        for kind, title, key in (
            ("configMap", "ConfigMap", "name"),
            ("secret", "Secret", "secretName"),
            ("downwardAPI", "DownwardAPI", ""),
        ):
            source = volume.get(kind)
            if source and source.get("items"):
                what = f'{title} "{source.get(key) or ""}"' if key else title
                yield from _overlaps(name, what, [(item.get("path") or "", "") for item in source["items"]], [])
        if volume.get("projected"):
            yield from _projected(name, volume["projected"].get("sources") or ())


def _projected(name: str, sources: Any) -> Iterator[str]:
    taken: list[_File] = []
    for source in sources:
        if not any(value is not None for value in source.values()):
            yield f'volume "{name}" (Projected) has no sources provided'
            continue
        yield from _overlaps(name, "Projected", _files(source), taken)


def _files(source: dict[str, Any]) -> list[_File]:
    for kind, title in (("configMap", "ConfigMap"), ("secret", "Secret")):
        part = source.get(kind)
        if part and part.get("items"):
            return [(i.get("path") or "", f'{title} "{part.get("name") or ""}"') for i in part["items"]]
    part = source.get("downwardAPI")
    if part and part.get("items"):
        return [(i.get("path") or "", "DownwardAPI") for i in part["items"]]
    if source.get("serviceAccountToken") is not None:
        return [(source["serviceAccountToken"].get("path") or "", "ServiceAccountToken")]
    bundle = source.get("clusterTrustBundle")
    if bundle is not None:
        return [(bundle.get("path") or "", f'ClusterTrustBundle "{bundle.get("name") or bundle.get("signerName")}"')]
    return []


def _overlaps(name: str, what: str, files: list[_File], taken: list[_File]) -> Iterator[str]:
    for path, source in files:
        file = (path.rstrip("/"), source)
        for other in taken if file[0] else ():
            if other[0] and (
                other == file or f"{other[0]}/".startswith(f"{file[0]}/") or f"{file[0]}/".startswith(f"{other[0]}/")
            ):
                yield f'volume "{name}" ({what}): overlapping paths: {_shown(file)} with {_shown(other)}'
        taken.append(file)


def _shown(file: _File) -> str:
    return f'"{file[0]}" ({file[1]})' if file[1] else f'"{file[0]}"'
