"""ServiceAccount: a pod runs as an account of its namespace, and finds a token of it where clients look."""

from __future__ import annotations

import asyncio
from typing import Any

from kumo.api.errors import not_found
from kumo.api.objects import Object, annotations_of, name_of, name_suffix
from kumo.api.resources import SERVICEACCOUNTS
from kumo.kubernetes.apiserver.admission.pod_secrets import ephemeral_faults, names_secrets, secret_faults
from kumo.kubernetes.apiserver.admission.refusals import refused
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes, Reader
from kumo.kubernetes.apiserver.kinds.pod.known_specs import TOKEN_VOLUME

MIRROR = "kubernetes.io/config.mirror"
MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
ENFORCE_SECRETS = "kubernetes.io/enforce-mountable-secrets"
_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_EXPIRY = 3607
_PATIENCE = 1.5


class ServiceAccountAdmission:
    """Chooses the account `default`, refuses missing ones, mounts the token, adds the account's pull secrets."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._awaited: dict[tuple[str, str], list[asyncio.Event]] = {}
        self._known: dict[tuple[str, str], Object] = {}
        self._revision = -1
        reader.listen(SERVICEACCOUNTS, self._changed)

    def _changed(self, namespace: str, name: str) -> None:
        for event in self._awaited.get((namespace, name), ()):
            event.set()

    async def mutate(self, attrs: AdmissionAttributes) -> None:
        """Complete a new pod. Raises 403 when its service account does not exist.

        The account `default` is made by a controller just after its namespace: a moment is given to it.
        """
        pod = attrs.object
        if pod is None or MIRROR in annotations_of(pod):
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

    async def validate(self, attrs: AdmissionAttributes) -> None:
        """Raise 403 for a mirror pod with an account or secrets, and for secrets that the account may not use."""
        pod = attrs.object or {}
        spec = pod.get("spec") or {}
        if MIRROR in annotations_of(pod):
            _check_mirror(attrs, spec)
            return
        account = await self._named(attrs, spec)
        if _enforces(account):
            for fault in secret_faults(account, spec):
                raise refused(attrs, fault)

    async def validate_ephemeral(self, attrs: AdmissionAttributes) -> None:
        """Raise 403 for ephemeral containers with secrets that the account may not use."""
        spec = (attrs.object or {}).get("spec") or {}
        account = await self._named(attrs, spec)
        if _enforces(account):
            for fault in ephemeral_faults(account, spec):
                raise refused(attrs, fault)

    async def _named(self, attrs: AdmissionAttributes, spec: Object) -> Object:
        name = spec.get("serviceAccountName") or ""
        if not name:
            raise refused(
                attrs, f"no service account specified for pod {attrs.namespace}/{name_of(attrs.object or {})}"
            )
        return await self._account(attrs, name)

    def _read(self, namespace: str, name: str) -> Object | None:
        """The account or None, read once for as long as none changes; not to be changed."""
        revision = self._reader.revision(SERVICEACCOUNTS)
        if revision != self._revision:
            self._known, self._revision = {}, revision
        found = self._known.get((namespace, name))
        if found is None and (found := self._reader.get(SERVICEACCOUNTS, name, namespace)) is not None:
            self._known[namespace, name] = found
        return found

    async def _account(self, attrs: AdmissionAttributes, name: str) -> Object:
        found = self._read(attrs.namespace, name)
        if found is None and name == "default":
            found = await self._wait(attrs.namespace, name)
        if found is None:
            missing = not_found("", "serviceaccount", name).message
            raise refused(attrs, f"error looking up service account {attrs.namespace}/{name}: {missing}")
        return found

    async def _wait(self, namespace: str, name: str) -> Object | None:
        """The account as soon as there is one, or None after a moment."""
        made = asyncio.Event()
        waiting = self._awaited.setdefault((namespace, name), [])
        waiting.append(made)
        try:
            async with asyncio.timeout(_PATIENCE):
                while (found := self._reader.get(SERVICEACCOUNTS, name, namespace)) is None:
                    await made.wait()
                    made.clear()
                return found
        except TimeoutError:
            return None
        finally:
            waiting.remove(made)
            if not waiting:
                self._awaited.pop((namespace, name), None)


def _enforces(account: Object) -> bool:
    return annotations_of(account).get(ENFORCE_SECRETS) in _TRUE


def _check_mirror(attrs: AdmissionAttributes, spec: Object) -> None:
    if spec.get("serviceAccountName"):
        raise refused(attrs, "a mirror pod may not reference service accounts")
    if names_secrets(spec):
        raise refused(attrs, "a mirror pod may not reference secrets")
    for volume in spec.get("volumes") or ():
        sources = (volume.get("projected") or {}).get("sources") or ()
        if any(source.get("serviceAccountToken") is not None for source in sources):
            raise refused(attrs, "a mirror pod may not use ServiceAccountToken volume projections")


def mount_token(spec: dict[str, Any]) -> None:
    """Add the projected token volume to the pod spec, and its mount to each container that has nothing there."""
    volumes = spec.get("volumes") or []
    name = next((v["name"] for v in volumes if v.get("name", "").startswith(TOKEN_VOLUME)), "")
    fresh = not name
    name = name or f"{TOKEN_VOLUME}{name_suffix()}"
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
