"""What a pod or a volume names: the objects that its node must be able to read. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kumo.api.objects import Object, annotations_of, name_of, namespace_of

MIRROR = "kubernetes.io/config.mirror"
Target = tuple[str, str, str]
"""Resource, namespace and name of an object that is referred to."""

_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")
_SECRET_NAMES = {"secret": "secretName", "azureFile": "secretName"}
_SECRET_REFS = ("secretRef", "nodePublishSecretRef")
_VOLUME_REFS = ("secretRef", "nodePublishSecretRef", "nodeStageSecretRef", "nodeExpandSecretRef")


def named_by_pod(pod: Object) -> set[Target]:
    """All objects that the pod entitles its node to; none for a mirror pod, which a node could make up."""
    if MIRROR in annotations_of(pod):
        return set()
    spec = pod.get("spec") or {}
    namespace = namespace_of(pod)
    found: set[Target] = set()

    def add(resource: str, names: Iterator[str]) -> None:
        found.update((resource, namespace, name) for name in names if name)

    add("serviceaccounts", iter((spec.get("serviceAccountName") or "",)))
    add("secrets", _secrets(spec))
    add("configmaps", _config_maps(spec))
    add("persistentvolumeclaims", _claims(pod, spec))
    add("resourceclaims", _resource_claims(pod, spec))
    return found


def secrets_of_volume(volume: Object) -> set[Target]:
    """The secrets that a node needs to mount the PersistentVolume."""
    spec = volume.get("spec") or {}
    default = (spec.get("claimRef") or {}).get("namespace") or ""
    found: set[Target] = set()
    for kind, source in spec.items():
        if not isinstance(source, dict):
            continue
        if kind == "azureFile" and source.get("secretName"):
            found.add(("secrets", source.get("secretNamespace") or default, source["secretName"]))
        for field in _VOLUME_REFS:
            reference = source.get(field)
            if isinstance(reference, dict) and reference.get("name"):
                found.add(("secrets", reference.get("namespace") or default, reference["name"]))
    return found


def _volumes(spec: Object) -> Iterator[dict[str, Any]]:
    yield from spec.get("volumes") or ()


def _projected(volume: dict[str, Any], kind: str) -> Iterator[str]:
    for part in (volume.get("projected") or {}).get("sources") or ():
        if source := part.get(kind):
            yield source.get("name") or ""


def _environment(spec: Object, one: str, every: str) -> Iterator[str]:
    for field in _CONTAINERS:
        for container in spec.get(field) or ():
            for variable in container.get("env") or ():
                if source := (variable.get("valueFrom") or {}).get(one):
                    yield source.get("name") or ""
            for source in container.get("envFrom") or ():
                if named := source.get(every):
                    yield named.get("name") or ""


def _secrets(spec: Object) -> Iterator[str]:
    for reference in spec.get("imagePullSecrets") or ():
        yield reference.get("name") or ""
    yield from _environment(spec, "secretKeyRef", "secretRef")
    for volume in _volumes(spec):
        yield from _projected(volume, "secret")
        for kind, source in volume.items():
            if not isinstance(source, dict):
                continue
            if kind in _SECRET_NAMES:
                yield source.get(_SECRET_NAMES[kind]) or ""
            for field in _SECRET_REFS:
                if isinstance(source.get(field), dict):
                    yield source[field].get("name") or ""


def _config_maps(spec: Object) -> Iterator[str]:
    yield from _environment(spec, "configMapKeyRef", "configMapRef")
    for volume in _volumes(spec):
        yield from _projected(volume, "configMap")
        if source := volume.get("configMap"):
            yield source.get("name") or ""


def _claims(pod: Object, spec: Object) -> Iterator[str]:
    for volume in _volumes(spec):
        if claim := volume.get("persistentVolumeClaim"):
            yield claim.get("claimName") or ""
        elif "ephemeral" in volume:
            yield f"{name_of(pod)}-{volume['name']}"


def _resource_claims(pod: Object, spec: Object) -> Iterator[str]:
    status = pod.get("status") or {}
    made = {s.get("name"): s.get("resourceClaimName") or "" for s in status.get("resourceClaimStatuses") or ()}
    for claim in spec.get("resourceClaims") or ():
        yield claim.get("resourceClaimName") or made.get(claim.get("name")) or ""
    yield (status.get("extendedResourceClaimStatus") or {}).get("resourceClaimName") or ""


_NEEDS_API = (
    ("configMap", "configmaps (via configmap volumes)"),
    ("secret", "secrets (via secret volumes)"),
    ("csi", "csidrivers (via CSI volumes)"),
    ("glusterfs", "endpoints (via glusterFS volumes)"),
    ("persistentVolumeClaim", "persistentvolumeclaims"),
    ("ephemeral", "persistentvolumeclaims (via ephemeral volumes)"),
    ("azureFile", "secrets (via azureFile volumes)"),
)
_PROJECTIONS_NEED_API = (
    ("configMap", "configmaps (via projected volumes)"),
    ("secret", "secrets (via projected volumes)"),
    ("serviceAccountToken", "serviceaccounts (via projected volumes)"),
    ("clusterTrustBundle", "clustertrustbundles"),
    ("podCertificate", "podcertificates"),
)


def api_reference(pod: Object) -> str:
    """What the pod names that only the API could give it (a static pod may not); empty if nothing."""
    spec = pod.get("spec") or {}
    if spec.get("serviceAccountName"):
        return "serviceaccounts"
    if any(_secrets(spec)):
        return "secrets"
    if any(_config_maps(spec)):
        return "configmaps"
    if spec.get("resourceClaims"):
        return "resourceclaims"
    for volume in _volumes(spec):
        for field, named in _NEEDS_API:
            if field in volume:
                return named
        for source in (volume.get("projected") or {}).get("sources") or ():
            for field, named in _PROJECTIONS_NEED_API:
                if field in source:
                    return named
    return ""
