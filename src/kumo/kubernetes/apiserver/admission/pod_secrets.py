"""The secrets that a pod names, and which of them its service account may not use. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kumo.api.objects import Object, name_of

_SOURCES = (
    ("secret", "secretName"),
    ("azureFile", "secretName"),
    ("cephfs", "secretRef"),
    ("cinder", "secretRef"),
    ("flexVolume", "secretRef"),
    ("rbd", "secretRef"),
    ("scaleIO", "secretRef"),
    ("iscsi", "secretRef"),
    ("storageos", "secretRef"),
    ("csi", "nodePublishSecretRef"),
)
"""Where volumes name secrets."""


def names_secrets(spec: Object) -> bool:
    """Whether the pod names any secret: in volumes, in environments, or to pull images."""
    if spec.get("imagePullSecrets"):
        return True
    for part in ("initContainers", "containers", "ephemeralContainers"):
        if any(True for container in spec.get(part) or () for _ in _environment(container)):
            return True
    for volume in spec.get("volumes") or ():
        if any((volume.get(kind) or {}).get(field) for kind, field in _SOURCES):
            return True
        projected = (volume.get("projected") or {}).get("sources") or ()
        if any(source.get("secret") is not None for source in projected):
            return True
    return False


def _environment(container: Object) -> Iterator[tuple[str, str]]:
    """The secrets of a container's environment, each with the words for where it is named."""
    for variable in container.get("env") or ():
        reference = (variable.get("valueFrom") or {}).get("secretKeyRef")
        if reference is not None:
            yield f"envVar {variable.get('name', '')}", reference.get("name", "")
    for source in container.get("envFrom") or ():
        if source.get("secretRef") is not None:
            yield "envFrom", source["secretRef"].get("name", "")


def _named(references: Iterable[Object] | None) -> set[str]:
    return {reference.get("name", "") for reference in references or ()}


def _containers(account: Object, spec: Object, part: str, word: str) -> Iterator[str]:
    allowed = _named(account.get("secrets"))
    for container in spec.get(part) or ():
        for where, secret in _environment(container):
            if secret not in allowed:
                yield (
                    f'{word} {container.get("name", "")} with {where} referencing secret.secretName="{secret}" is not '
                    f"allowed because service account {name_of(account)} does not reference that secret"
                )


def secret_faults(account: Object, spec: Object) -> Iterator[str]:
    """What is wrong with a new pod whose account limits the secrets that may be used."""
    allowed = _named(account.get("secrets"))
    for volume in spec.get("volumes") or ():
        if volume.get("secret") is not None:
            secret = volume["secret"].get("secretName", "")
            if secret not in allowed:
                yield (
                    f'volume with secret.secretName="{secret}" is not allowed because service account '
                    f"{name_of(account)} does not reference that secret"
                )
    yield from _containers(account, spec, "initContainers", "init container")
    yield from _containers(account, spec, "containers", "container")
    pulling = _named(account.get("imagePullSecrets"))
    for index, reference in enumerate(spec.get("imagePullSecrets") or ()):
        if reference.get("name", "") not in pulling:
            yield (
                f'imagePullSecrets[{index}].name="{reference.get("name", "")}" is not allowed because service account '
                f"{name_of(account)} does not reference that imagePullSecret"
            )


def ephemeral_faults(account: Object, spec: Object) -> Iterator[str]:
    """What is wrong with a pod's ephemeral containers whose account limits the secrets that may be used."""
    yield from _containers(account, spec, "ephemeralContainers", "ephemeral container")
