"""Which secrets the parameters of a StorageClass or VolumeSnapshotClass name for its driver: templates and tokens.

Pure; the rules are those of the CSI sidecars.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from kumo.api.names import check_label, check_subdomain
from kumo.api.objects import Object, annotations_of, name_of, namespace_of

PREFIX = "csi.storage.k8s.io/"
"""Parameters of classes that are meant for the controllers and not for the driver."""
FS_TYPE = PREFIX + "fstype"
KINDS = {
    "Provisioner": "provisioner",
    "ControllerPublish": "controller-publish",
    "NodeStage": "node-stage",
    "NodePublish": "node-publish",
    "ControllerExpand": "controller-expand",
    "NodeExpand": "node-expand",
    "ControllerModify": "controller-modify",
}
"""The secrets of a StorageClass: their names in messages, and in parameters."""
_DEPRECATED = ("Provisioner", "ControllerPublish", "NodeStage", "NodePublish")
_SNAPSHOT = ("snapshotter", "snapshotter-list")
_TOKEN = re.compile(r"\$\{([^}]*)\}|\$(\w+)")


class SecretError(Exception):
    """The class's parameters, or the secret that they name, are of no use; the message says why."""


def reference(kind: str, parameters: Mapping[str, str], volume: str, claim: Object | None) -> dict[str, str] | None:
    """The secret (`name`, `namespace`) of a kind for a volume of the class, or None. Raises SecretError."""
    templates = _templates(kind, parameters)
    if templates is None:
        return None
    name, namespace = templates
    tokens = {"pv.name": volume}
    if claim is not None:
        tokens["pvc.namespace"] = namespace_of(claim)
    space = _resolve(namespace, tokens)
    if check_label(space):
        raise SecretError(_invalid(namespace, space, "namespace"))
    if claim is not None:
        tokens["pvc.name"] = name_of(claim)
        tokens |= {f"pvc.annotations['{k}']": v for k, v in annotations_of(claim).items()}
    resolved = _resolve(name, tokens)
    if check_subdomain(resolved):
        raise SecretError(_invalid(name, resolved, "secret"))
    return {"name": resolved, "namespace": space}


def snapshot_reference(
    parameters: Mapping[str, str], content: str, snapshot: Object | None, *, listing: bool = False
) -> dict[str, str] | None:
    """The secret of a VolumeSnapshotClass for a snapshot; None if there is none. Raises SecretError."""
    stem = PREFIX + _SNAPSHOT[listing]
    found = _pair("Snapshotter", parameters, [(f"{stem}-secret-name", f"{stem}-secret-namespace")])
    if found is None:
        return None
    tokens = {"volumesnapshotcontent.name": content}
    if snapshot is not None:
        tokens["volumesnapshot.namespace"] = namespace_of(snapshot)
    space = _resolve(found[1], tokens)
    if snapshot is not None:
        tokens["volumesnapshot.name"] = name_of(snapshot)
    return {"name": _resolve(found[0], tokens), "namespace": space}


def _templates(kind: str, parameters: Mapping[str, str]) -> tuple[str, str] | None:
    stem = PREFIX + KINDS[kind]
    keys = [(f"{stem}-secret-name", f"{stem}-secret-namespace")]
    if kind in _DEPRECATED:
        keys.append((f"csi{kind}SecretName", f"csi{kind}SecretNamespace"))
    try:
        found = _pair(kind, parameters, keys)
    except SecretError as error:
        raise SecretError(f"failed to get name and namespace template from params: {error}") from None
    if found is not None:
        return found
    try:
        return _pair("Default", parameters, [(PREFIX + "secret-name", PREFIX + "secret-namespace")])
    except SecretError as error:
        raise SecretError(f"failed to get default name and namespace template from params: {error}") from None


def _pair(kind: str, parameters: Mapping[str, str], keys: list[tuple[str, str]]) -> tuple[str, str] | None:
    names = [parameters[name] for name, _ in keys if name in parameters]
    spaces = [parameters[space] for _, space in keys if space in parameters]
    if len(names) > 1 or len(spaces) > 1:
        raise SecretError(f'{kind} secrets specified in parameters with both "csi" and "{PREFIX}" keys')
    if len(names) != len(spaces):
        raise SecretError(f"either name and namespace for {kind} secrets specified, Both must be specified")
    if not names:
        return None
    if not names[0] or not spaces[0]:
        raise SecretError(f"{kind} secrets specified in parameters but value of either namespace or name is empty")
    return names[0], spaces[0]


def _resolve(template: str, tokens: Mapping[str, str]) -> str:
    missing = []

    def value(found: re.Match[str]) -> str:
        token = found[1] if found[1] is not None else found[2]
        if token not in tokens:
            missing.append(token)
        return tokens.get(token, "")

    resolved = _TOKEN.sub(value, template)
    if missing:
        names = " ".join(f'"{m}"' for m in sorted(set(missing)))
        raise SecretError(f'error resolving value "{template}": invalid tokens: [{names}]')
    return resolved


def _invalid(template: str, resolved: str, what: str) -> str:
    if template != resolved:
        return f'"{template}" resolved to "{resolved}" which is not a valid {what} name'
    return f'"{template}" is not a valid {what} name'


def driver_parameters(parameters: Mapping[str, str]) -> dict[str, str]:
    """The parameters that the driver gets. Raises SecretError for one with our prefix that means nothing."""
    kinds = [*KINDS.values(), *_SNAPSHOT]
    known = {FS_TYPE, PREFIX + "secret-name", PREFIX + "secret-namespace"}
    known |= {f"{PREFIX}{kind}-secret-{part}" for kind in kinds for part in ("name", "namespace")}
    for key in parameters:
        if key.startswith(PREFIX) and key not in known:
            raise SecretError(f'found unknown parameter key "{key}" with reserved namespace {PREFIX}')
    return {k: v for k, v in parameters.items() if not k.startswith(PREFIX)}
