"""Volumes whose files come from objects: configMap, secret, downwardAPI, projected (tokens among them)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from kumo.api.errors import StatusError
from kumo.api.objects import Object, namespace_of
from kumo.api.resources import CONFIGMAPS, SECRETS
from kumo.kubernetes.kubelet.env import ConfigError, Sources, pod_field, resource_field
from kumo.kubernetes.kubelet.references import References
from kumo.kubernetes.kubelet.spec import find_container, pod_security, run_as_user
from kumo.kubernetes.kubelet.volumes.atomic import Entry

_DEFAULT_MODE = 0o644
_TOKEN_SECONDS = 3600


class VolumeError(Exception):
    """A volume can't be made (yet); the text is what the FailedMount event says after the volume's name."""


class FileVolumes:
    """Collects the files of a volume."""

    def __init__(self, references: References) -> None:
        self._references = references

    async def collect(
        self, pod: Object, volume: Mapping[str, Any], sources: Sources, max_age: float
    ) -> dict[str, Entry]:
        """The files of a configMap, secret, downwardAPI or projected volume. Raises VolumeError, StatusError."""
        if "configMap" in volume:
            source = volume["configMap"]
            return await self._config(pod, source, _mode(source), max_age)
        if "secret" in volume:
            source = volume["secret"]
            named = {**source, "name": source.get("secretName", "")}
            return await self._secret(pod, named, _mode(source), max_age)
        if "downwardAPI" in volume:
            source = volume["downwardAPI"]
            return self._downward(pod, source, _mode(source), sources)
        files: dict[str, Entry] = {}
        projected = volume["projected"]
        mode = _mode(projected)
        for source in projected.get("sources") or ():
            if "configMap" in source:
                files |= await self._config(pod, source["configMap"], mode, max_age)
            elif "secret" in source:
                files |= await self._secret(pod, source["secret"], mode, max_age)
            elif "downwardAPI" in source:
                files |= self._downward(pod, source["downwardAPI"], mode, sources)
            elif "serviceAccountToken" in source:
                files |= await self._token(pod, source["serviceAccountToken"], mode)
            else:
                raise VolumeError(f"unsupported projected source {sorted(source)}")
        return files

    async def _config(self, pod: Object, source: Mapping[str, Any], mode: int, max_age: float) -> dict[str, Entry]:
        name, namespace = source.get("name", ""), namespace_of(pod)
        found = await self._references.get(CONFIGMAPS, namespace, name, max_age)
        if found is None:
            if source.get("optional"):
                return {}
            raise VolumeError(f'configmap "{name}" not found')
        data = {k: v.encode() for k, v in (found.get("data") or {}).items()}
        data |= {k: base64.b64decode(v) for k, v in (found.get("binaryData") or {}).items()}
        return _pick(data, source, mode, "configmap references non-existent config key")

    async def _secret(self, pod: Object, source: Mapping[str, Any], mode: int, max_age: float) -> dict[str, Entry]:
        name, namespace = source.get("name", ""), namespace_of(pod)
        found = await self._references.get(SECRETS, namespace, name, max_age)
        if found is None:
            if source.get("optional"):
                return {}
            raise VolumeError(f'secret "{name}" not found')
        data = {k: base64.b64decode(v) for k, v in (found.get("data") or {}).items()}
        return _pick(data, source, mode, "references non-existent secret key")

    def _downward(self, pod: Object, source: Mapping[str, Any], mode: int, sources: Sources) -> dict[str, Entry]:
        files = {}
        for item in source.get("items") or ():
            own = int(item["mode"]) if item.get("mode") is not None else mode
            try:
                if "fieldRef" in item:
                    text = pod_field(pod, item["fieldRef"]["fieldPath"], sources)
                else:
                    reference = item["resourceFieldRef"]
                    container = find_container(pod, reference.get("containerName", "")) or {}
                    text = resource_field(pod, container, reference, sources.allocatable)
            except ConfigError as error:
                raise VolumeError(str(error)) from error
            files[item["path"]] = Entry(text.encode(), own)
        return files

    async def _token(self, pod: Object, source: Mapping[str, Any], mode: int) -> dict[str, Entry]:
        seconds = int(source.get("expirationSeconds") or _TOKEN_SECONDS)
        try:
            token = await self._references.token(pod, source.get("audience") or "", seconds)
        except StatusError as error:
            raise VolumeError(f"failed to fetch token: {error.message}") from error
        # A token is for the pod's user alone: as upstream, 0600 when all containers run as one user.
        user = run_as_user(pod)
        if pod_security(pod).get("fsGroup") is not None:
            return {source["path"]: Entry(token.encode(), 0o600)}
        if user is not None:
            return {source["path"]: Entry(token.encode(), 0o600, uid=user)}
        return {source["path"]: Entry(token.encode(), mode)}


def _mode(source: Mapping[str, Any]) -> int:
    value = source.get("defaultMode")
    return _DEFAULT_MODE if value is None else int(value)


def _pick(data: Mapping[str, bytes], source: Mapping[str, Any], mode: int, missing: str) -> dict[str, Entry]:
    items = source.get("items")
    if not items:
        return {k: Entry(v, mode) for k, v in data.items()}
    files = {}
    for item in items:
        key = item["key"]
        if key not in data:
            if source.get("optional"):
                continue
            raise VolumeError(f"{missing}: {key}")
        files[item["path"]] = Entry(data[key], int(item["mode"]) if item.get("mode") is not None else mode)
    return files
