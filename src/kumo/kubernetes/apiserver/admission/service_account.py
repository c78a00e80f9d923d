"""ServiceAccount: a pod runs as an account of its namespace, and finds a token of it where clients look."""

from __future__ import annotations

import asyncio
from typing import Any

from kumo.api.errors import not_found
from kumo.api.objects import Object, annotations_of, name_suffix
from kumo.api.resources import SERVICEACCOUNTS
from kumo.kubernetes.apiserver.admission.refusals import refused
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes, Reader

MIRROR = "kubernetes.io/config.mirror"
MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
_EXPIRY = 3607
_PREFIX = "kube-api-access-"
_TRIES = 10
_PAUSE = 0.1


class ServiceAccountAdmission:
    """Chooses the account `default`, refuses missing ones, mounts the token, adds the account's pull secrets."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def mutate(self, attrs: AdmissionAttributes) -> None:
        """Complete a new pod. Raises 403 when its service account does not exist.

        The account `default` is made by a controller just after its namespace: a second is given to it.
        """
        pod = attrs.object
        if attrs.operation != "CREATE" or attrs.subresource or pod is None or MIRROR in annotations_of(pod):
            return
        spec: dict[str, Any] = pod.setdefault("spec", {})
        name = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
        spec["serviceAccountName"] = spec["serviceAccount"] = name
        account = await self._account(attrs, name)
        wanted = spec.get("automountServiceAccountToken", account.get("automountServiceAccountToken", True))
        if wanted:
            mount_token(spec)
        if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
            spec["imagePullSecrets"] = [dict(s) for s in account["imagePullSecrets"]]

    async def _account(self, attrs: AdmissionAttributes, name: str) -> Object:
        for attempt in range(_TRIES if name == "default" else 1):
            if attempt:
                await asyncio.sleep(_PAUSE)
            found = self._reader.get(SERVICEACCOUNTS, name, attrs.namespace)
            if found is not None:
                return found
        missing = not_found("", "serviceaccount", name).message
        raise refused(attrs, f"error looking up service account {attrs.namespace}/{name}: {missing}")


def mount_token(spec: dict[str, Any]) -> None:
    """Add the projected token volume to the pod spec, and its mount to each container that has nothing there."""
    volumes = spec.get("volumes") or []
    name = next((v["name"] for v in volumes if v.get("name", "").startswith(_PREFIX) and "projected" in v), "")
    fresh = not name
    name = name or f"{_PREFIX}{name_suffix()}"
    mounted = False
    for field in ("initContainers", "containers"):
        for container in spec.get(field) or ():
            mounts = container.get("volumeMounts") or []
            if any(m.get("mountPath") == MOUNT_PATH for m in mounts):
                continue
            container["volumeMounts"] = [*mounts, {"name": name, "readOnly": True, "mountPath": MOUNT_PATH}]
            mounted = True
    if mounted and fresh:
        spec["volumes"] = [*volumes, {"name": name, "projected": _projection()}]


def _projection() -> dict[str, Any]:
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    return {
        "defaultMode": 0o644,
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": _EXPIRY, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [namespace]}},
        ],
    }
