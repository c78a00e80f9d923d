"""Images as files: make an OCI image from directories and files, read OCI and docker archives. No containerd here.

Formats: OCI image layout and image specification 1.0; the archive of `docker save` (manifest.json). Standard library
only.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"

_EPOCH = "1970-01-01T00:00:00Z"
_DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "ppc64le": "ppc64le", "s390x": "s390x"}


class BadArchive(Exception):
    """The file is not an image archive that can be imported; the message says why."""


def architecture() -> str:
    """This machine's architecture as images name it."""
    return _ARCHITECTURES.get(platform.machine(), platform.machine())


def digest_of(data: bytes) -> str:
    """`sha256:` and the hash of the bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass(frozen=True, slots=True)
class File:
    """An entry of a layer that does not come from a directory: bytes, a file of this machine, a symlink or a folder."""

    path: str
    """Absolute path in the image."""
    content: bytes | Path | None = None
    """The bytes, or the file to read; None for a folder."""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    link: str = ""
    """Makes it a symbolic link to there."""


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What an image says about how to run it."""

    entrypoint: Sequence[str] = ()
    cmd: Sequence[str] = ()
    env: Sequence[str] = (_DEFAULT_PATH,)
    user: str = ""
    working_dir: str = "/"
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Blob:
    """Content by digest: small ones as bytes, layers as a place in a file (offset and size)."""

    digest: str
    size: int
    data: bytes | None = None
    file: Path | None = None
    offset: int = 0

    def open(self) -> BinaryIO:
        """A stream positioned at the blob's first byte; read `size` bytes from it."""
        if self.file is None:
            return io.BytesIO(self.data or b"")
        stream = self.file.open("rb")
        stream.seek(self.offset)
        return stream


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """An image ready for import: its manifest and all the blobs it needs. `chain` are its layers' chain ids."""

    manifest: Blob
    media_type: str
    config: Blob
    layers: Sequence[Blob]
    diff_ids: Sequence[str]
    names: Sequence[str] = ()

    @property
    def chain_id(self) -> str:
        """The id of its whole file system (OCI image specification, layer chain id)."""
        return chain_ids(self.diff_ids)[-1] if self.diff_ids else ""


def chain_ids(diff_ids: Sequence[str]) -> list[str]:
    """The chain id of each layer, from the bottom."""
    chain: list[str] = []
    for diff in diff_ids:
        chain.append(digest_of(f"{chain[-1]} {diff}".encode()) if chain else diff)
    return chain


def build_image(
    *,
    directory: Path | None = None,
    files: Iterable[File] = (),
    config: ImageConfig | None = None,
    compress: bool = True,
    scratch: Path | None = None,
) -> BuiltImage:
    """An OCI image of one layer: the tree below `directory`, then `files`. Reproducible: all times are the epoch's.

    With `scratch` (a file to write), the layer goes there instead of into memory: for large ones such as disks.
    """
    settings = config or ImageConfig()
    target: BinaryIO = scratch.open("w+b") if scratch else io.BytesIO()
    raw = _Hashing(target if not compress else gzip.GzipFile(fileobj=target, mode="wb", compresslevel=6, mtime=0))
    with tarfile.open(fileobj=raw, mode="w|", format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
        if directory is not None:
            _add_tree(tar, directory)
        _add_files(tar, list(files))
    raw.finish(close=compress)
    layer = _layer_blob(target, scratch)
    spec: dict[str, Any] = {
        "Entrypoint": list(settings.entrypoint),
        "Cmd": list(settings.cmd),
        "Env": list(settings.env),
        "User": settings.user,
        "WorkingDir": settings.working_dir,
        "Labels": dict(settings.labels),
    }
    body = {
        "created": _EPOCH,
        "architecture": architecture(),
        "os": "linux",
        "config": {k: v for k, v in spec.items() if v},
        "rootfs": {"type": "layers", "diff_ids": [raw.digest]},
        "history": [{"created": _EPOCH, "created_by": "kumo"}],
    }
    config_blob = _json_blob(body)
    manifest = _json_blob(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": config_blob.digest, "size": config_blob.size},
            "layers": [
                {"mediaType": LAYER_GZIP if compress else LAYER, "digest": layer.digest, "size": layer.size},
            ],
        }
    )
    return BuiltImage(manifest, MANIFEST, config_blob, [layer], [raw.digest])


class _Hashing:
    """A writable stream that hashes what passes, for the layer's uncompressed digest."""

    def __init__(self, target: Any) -> None:
        self._target = target
        self._hash = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        self._target.write(data)
        return len(data)

    def finish(self, close: bool) -> None:
        if close:
            self._target.close()
        else:
            self._target.flush()

    @property
    def digest(self) -> str:
        return "sha256:" + self._hash.hexdigest()


def _layer_blob(target: BinaryIO, scratch: Path | None) -> Blob:
    if scratch is None:
        target.seek(0)
        data = bytes(target.read())
        return Blob(digest_of(data), len(data), data)
    target.flush()
    target.seek(0)
    hashed = hashlib.sha256()
    while piece := target.read(1 << 20):
        hashed.update(piece)
    target.close()
    digest = "sha256:" + hashed.hexdigest()
    return Blob(digest, scratch.stat().st_size, file=scratch)


def _json_blob(body: Mapping[str, Any]) -> Blob:
    data = json.dumps(body, separators=(",", ":")).encode()
    return Blob(digest_of(data), len(data), data)


def _add_tree(tar: tarfile.TarFile, root: Path) -> None:
    for path in sorted(root.rglob("*")):
        if path.is_socket():
            continue
        info = tar.gettarinfo(str(path), str(path.relative_to(root)))
        info.mtime = 0
        info.uname = info.gname = ""
        if info.isreg():
            with path.open("rb") as stream:
                tar.addfile(info, stream)
        else:
            tar.addfile(info)


def _add_files(tar: tarfile.TarFile, files: Sequence[File]) -> None:
    made: set[PurePosixPath] = set()
    for entry in files:
        path = PurePosixPath(entry.path.lstrip("/"))
        for parent in reversed(path.parents[:-1]):
            if parent not in made and not any(PurePosixPath(f.path.lstrip("/")) == parent for f in files):
                made.add(parent)
                folder = tarfile.TarInfo(str(parent))
                folder.type, folder.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(folder)
        info = tarfile.TarInfo(str(path))
        info.mode, info.uid, info.gid = entry.mode, entry.uid, entry.gid
        if entry.link:
            info.type, info.linkname = tarfile.SYMTYPE, entry.link
            tar.addfile(info)
        elif entry.content is None:
            info.type = tarfile.DIRTYPE
            tar.addfile(info)
        elif isinstance(entry.content, bytes):
            info.size = len(entry.content)
            tar.addfile(info, io.BytesIO(entry.content))
        else:
            info.size = entry.content.stat().st_size
            with entry.content.open("rb") as stream:
                tar.addfile(info, stream)


def read_archive(path: Path) -> list[BuiltImage]:
    """The images of an OCI layout tar or a `docker save` tar, for this machine's architecture. Raises BadArchive.

    Layers are not read into memory. The file must be an uncompressed tar, as both tools write it.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            members = {m.name.removeprefix("./"): m for m in tar.getmembers() if m.isreg()}

            def read(name: str) -> Any:
                stream = tar.extractfile(members[name])
                assert stream is not None
                return json.load(stream)

            if "index.json" in members:
                return _oci_images(path, members, read)
            if "manifest.json" in members:
                return _docker_images(path, members, read)
    except (tarfile.TarError, OSError) as error:
        raise BadArchive(f"{path} is not an image archive: {error}") from error
    except (KeyError, ValueError) as error:
        raise BadArchive(f"{path} is not a complete image archive: {error}") from error
    raise BadArchive(f"{path} is not an image archive: it has neither index.json (OCI) nor manifest.json (docker save)")


def _blob_in(path: Path, member: tarfile.TarInfo, digest: str) -> Blob:
    return Blob(digest, member.size, file=path, offset=member.offset_data)


def _oci_images(path: Path, members: Mapping[str, tarfile.TarInfo], read: Any) -> list[BuiltImage]:
    def name(digest: str) -> str:
        return "blobs/" + digest.replace(":", "/", 1)

    images = []
    for entry in read("index.json")["manifests"]:
        notes = entry.get("annotations") or {}
        wanted = notes.get("io.containerd.image.name") or notes.get("org.opencontainers.image.ref.name") or ""
        if entry.get("mediaType") in (INDEX, DOCKER_INDEX):
            entry = for_this_machine(read(name(entry["digest"]))["manifests"])
        manifest = read(name(entry["digest"]))
        config = read(name(manifest["config"]["digest"]))
        images.append(
            BuiltImage(
                manifest=_blob_in(path, members[name(entry["digest"])], entry["digest"]),
                media_type=entry.get("mediaType") or manifest.get("mediaType") or MANIFEST,
                config=_blob_in(path, members[name(manifest["config"]["digest"])], manifest["config"]["digest"]),
                layers=[_blob_in(path, members[name(x["digest"])], x["digest"]) for x in manifest["layers"]],
                diff_ids=config["rootfs"]["diff_ids"],
                names=[wanted] if wanted else [],
            )
        )
    return images


def for_this_machine(manifests: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The entry of an image index for this machine's platform. Raises ValueError if there is none."""
    for entry in manifests:
        where = entry.get("platform") or {}
        if where.get("architecture") == architecture() and where.get("os", "linux") == "linux":
            return entry
    if len(manifests) == 1:
        return manifests[0]
    raise ValueError(f"it has no image for linux/{architecture()}")


def _docker_images(path: Path, members: Mapping[str, tarfile.TarInfo], read: Any) -> list[BuiltImage]:
    images = []
    for entry in read("manifest.json"):
        with path.open("rb") as stream:

            def blob(name: str, stream: BinaryIO = stream) -> Blob:
                member = members[name]
                stream.seek(member.offset_data)
                digest = hashlib.sha256()
                left = member.size
                while left and (piece := stream.read(min(left, 1 << 20))):
                    digest.update(piece)
                    left -= len(piece)
                return _blob_in(path, member, "sha256:" + digest.hexdigest())

            config, layers = blob(entry["Config"]), [blob(name) for name in entry["Layers"]]
            heads = []
            for layer in layers:
                stream.seek(layer.offset)
                heads.append(stream.read(2))
        manifest = _json_blob(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {"mediaType": CONFIG, "digest": config.digest, "size": config.size},
                "layers": [
                    {
                        "mediaType": LAYER_GZIP if head == b"\x1f\x8b" else LAYER,
                        "digest": layer.digest,
                        "size": layer.size,
                    }
                    for layer, head in zip(layers, heads)
                ],
            }
        )
        diff_ids = read(entry["Config"])["rootfs"]["diff_ids"]
        images.append(BuiltImage(manifest, MANIFEST, config, layers, diff_ids, entry.get("RepoTags") or []))
    return images
