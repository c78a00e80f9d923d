"""What control planes on one store must have alike: authorities, keys, who may sign in, how to encrypt.

Certificates of their own they make themselves.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import replace

import msgspec

from kumo.cli import admission, identity, operation
from kumo.cli.instance import Instance

_FILES = (
    "pki/ca.crt",
    "pki/ca.key",
    "pki/front-proxy-ca.crt",
    "pki/front-proxy-ca.key",
    "pki/sa.key",
    identity.FILE,
    admission.FILE,
)
_ENCRYPTION = f"pki/{operation.ENCRYPTION}"


class Shared(msgspec.Struct, frozen=True):
    """What is shared: files by their place in the data directory, ranges, and OpenStack's administrator's password."""

    files: dict[str, bytes]
    service_cidr: str
    pod_cidr: str
    password: str

    def encode(self) -> bytes:
        """As bytes, the same for the same content."""
        return msgspec.json.encode(self, order="deterministic")

    @property
    def digest(self) -> str:
        """What tells one state from another."""
        return hashlib.sha256(self.encode()).hexdigest()


def collect(instance: Instance) -> Shared:
    """What the instance has. The administrator's password is made here if there is none yet."""
    found = {name: (instance.root / name).read_bytes() for name in _FILES if (instance.root / name).exists()}
    encryption = operation.operation(instance).encryption
    if encryption is not None:
        found[_ENCRYPTION] = encryption.read_bytes()
    return Shared(found, instance.service_cidr, instance.pod_cidr, _password(instance))


def apply(instance: Instance, shared: Shared) -> Instance:
    """Make the instance have what is shared; the instance with the cluster's ranges."""
    from kumo.machinery.files import write_file

    instance.root.mkdir(parents=True, exist_ok=True, mode=0o755)
    instance.pki_dir.mkdir(exist_ok=True, mode=0o700)
    for name in (*_FILES, _ENCRYPTION):
        content = shared.files.get(name)
        if name == _ENCRYPTION:
            _apply_encryption(instance, content)
        elif content is not None:
            write_file(instance.root / name, content)
        else:
            (instance.root / name).unlink(missing_ok=True)
    if _password(instance, make=False) != shared.password:
        _keep_password(instance, shared.password)
    return replace(instance, service_cidr=shared.service_cidr, pod_cidr=shared.pod_cidr)


def _apply_encryption(instance: Instance, content: bytes | None) -> None:
    from kumo.machinery.files import write_file

    known = operation.operation(instance).encryption
    if content is None:
        if known is not None:
            operation.use_encryption(instance.root, None)
    elif known is None or known.read_bytes() != content:
        path = instance.root / _ENCRYPTION
        write_file(path, content)
        operation.use_encryption(instance.root, path)


def _password(instance: Instance, *, make: bool = True) -> str:
    import yaml

    try:
        kept = yaml.safe_load(instance.clouds_yaml.read_text())["clouds"]["kumo"]["auth"]["password"]
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        kept = None
    if isinstance(kept, str) and kept:
        return kept
    if not make:
        return ""
    made = secrets.token_urlsafe(18)
    _keep_password(instance, made)
    return made


def _keep_password(instance: Instance, password: str) -> None:
    """Where OpenStack's wing looks for it; it writes the rest of the file."""
    from kumo.machinery.files import write_file

    write_file(instance.clouds_yaml, f"clouds:\n  kumo:\n    auth:\n      password: {password}\n".encode())
