"""Who has pulled what, on disk: `image_manager/pulling` (intents) and `image_manager/pulled`. The files are upstream's.

An intent is written before a pull and removed after it: an image that came while nobody could write who pulled it
(kill -9) counts as pulled by somebody unknown. Upstream: `pkg/kubelet/images/pullmanager/fs_pullrecords.go`.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import structlog

from kumo.api.objects import parse_timestamp, timestamp
from kumo.kubernetes.kubelet.pulls.credentials import PullSecret
from kumo.kubernetes.kubelet.pulls.verification import Access
from kumo.machinery.files import write_file

_VERSION = "kubelet.config.k8s.io/v1beta1"
_INTENT, _PULLED = "ImagePullIntent", "ImagePulledRecord"
_log = structlog.get_logger("kumo.kubelet")


@dataclass(frozen=True, slots=True)
class Pulled:
    """An image (its id) that the kubelet has pulled: by name without tag, who may use it under that name."""

    image: str
    access: Mapping[str, Access] = field(default_factory=dict)
    updated: str = ""
    """A timestamp."""

    @property
    def updated_at(self) -> float:
        """The same, in seconds since the epoch."""
        return parse_timestamp(self.updated) if self.updated else 0.0


def encode(record: Pulled) -> bytes:
    """The file's content."""
    mapping = {name: _encode_access(access) for name, access in sorted(record.access.items())}
    found = {
        "kind": _PULLED,
        "apiVersion": _VERSION,
        "lastUpdatedTime": record.updated or timestamp(),
        "imageRef": record.image,
    }
    return msgspec.json.encode(found | ({"credentialMapping": mapping} if mapping else {}))


def decode(content: bytes) -> Pulled:
    """The record. Raises ValueError for a broken file."""
    found: Any = msgspec.json.decode(content)
    try:
        if found["kind"] != _PULLED:
            raise ValueError(f"{found['kind']} is no {_PULLED}")
        mapping = found.get("credentialMapping") or {}
        access = {str(name): _decode_access(entry) for name, entry in mapping.items()}
        record = Pulled(str(found["imageRef"]), access, str(found.get("lastUpdatedTime") or ""))
        record.updated_at  # noqa: B018 - a time that is none makes the file a broken one
        return record
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the record has another form: {error!r}") from error


def _encode_access(access: Access) -> dict[str, Any]:
    if access.everyone:
        return {"nodePodsAccessible": True}
    keys = ("uid", "namespace", "name")
    secrets = [
        {"uid": s.uid, "namespace": s.namespace, "name": s.name, "credentialHash": s.hash} for s in access.secrets
    ]
    accounts = [dict(zip(keys, account, strict=True)) for account in access.accounts]
    made = {"kubernetesSecrets": secrets, "kubernetesServiceAccounts": accounts}
    return {name: entries for name, entries in made.items() if entries}


def _decode_access(entry: Mapping[str, Any]) -> Access:
    secrets = [
        PullSecret(str(s["uid"]), str(s["namespace"]), str(s["name"]), str(s.get("credentialHash") or ""))
        for s in entry.get("kubernetesSecrets") or ()
    ]
    accounts = [
        (str(a["uid"]), str(a["namespace"]), str(a["name"])) for a in entry.get("kubernetesServiceAccounts") or ()
    ]
    return Access(bool(entry.get("nodePodsAccessible")), tuple(secrets), tuple(accounts))


class RecordFiles:
    """The two folders. Everything blocks, and raises OSError."""

    def __init__(self, directory: Path) -> None:
        self._pulling = directory / "image_manager" / "pulling"
        self._pulled = directory / "image_manager" / "pulled"

    def load(self) -> tuple[set[str], dict[str, Pulled | None]]:
        """The images that somebody has begun to pull, and the records by image; None for one that can't be read."""
        for folder in (self._pulling, self._pulled):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        intents: set[str] = set()
        for path in _files(self._pulling):
            with contextlib.suppress(ValueError, KeyError, TypeError):
                intents.add(str(msgspec.json.decode(path.read_bytes())["image"]))
        records: dict[str, Pulled | None] = {}
        for path in _files(self._pulled):
            try:
                record = decode(path.read_bytes())
            except ValueError as error:
                _log.warning("a record of an image pull can't be read", path=str(path), error=str(error))
                records[path.name] = None
            else:
                records[record.image] = record
        return intents, records

    def intend(self, image: str) -> None:
        """Write that somebody pulls the image."""
        content = {"kind": _INTENT, "apiVersion": _VERSION, "image": image}
        write_file(self._pulling / file_name(image), msgspec.json.encode(content))

    def intend_no_more(self, image: str) -> None:
        """Take that back."""
        (self._pulling / file_name(image)).unlink(missing_ok=True)

    def write(self, record: Pulled) -> None:
        """Write a record."""
        write_file(self._pulled / file_name(record.image), encode(record))

    def remove(self, image: str) -> None:
        """Forget an image."""
        (self._pulled / file_name(image)).unlink(missing_ok=True)


def file_name(text: str) -> str:
    """The name of the file about an image."""
    return f"sha256-{hashlib.sha256(text.encode()).hexdigest()}"


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name.startswith("sha256-") and path.is_file():
            yield path
        elif path.name.startswith(".sha256-"):
            path.unlink(missing_ok=True)  # of a write that was killed
