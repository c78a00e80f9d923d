"""haproxy's files on disk: each replaced whole, and those of secrets that are no longer wanted taken away."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from kumo.kubernetes.ingress.certificates import file_name, listing
from kumo.kubernetes.ingress.config import IngressConfig
from kumo.kubernetes.ingress.settings import CERTIFICATES, DEFAULT_CERTIFICATE, files
from kumo.kubernetes.ingress.world import Plan
from kumo.machinery.tls import KeyPair


def write(config: IngressConfig, plan: Plan, default: KeyPair) -> None:
    """Write all that haproxy reads. Secrets' keys are for root only. Raises OSError."""
    directory = config.directory
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    wanted: dict[str, bytes] = {file_name(key): c.pem for key, c in plan.certificates.items()}
    shown = plan.default
    files_of_default = dict.fromkeys((Path(default.cert), Path(default.key)))  # it may be one for both
    own = b"".join(path.read_bytes() for path in files_of_default)
    wanted[DEFAULT_CERTIFICATE] = shown.pem if shown is not None else own
    wanted[CERTIFICATES] = listing(str(directory), plan.certificates, DEFAULT_CERTIFICATE).encode()
    wanted |= {name: text.encode() for name, text in files(config, plan.rules, plan.backends).items()}
    _replace(directory, wanted)
    for path in directory.glob("*.pem"):
        if path.name not in wanted:
            path.unlink(missing_ok=True)


def _replace(directory: Path, wanted: Mapping[str, bytes]) -> None:
    for name, content in wanted.items():
        path = directory / name
        with contextlib.suppress(OSError):
            if path.read_bytes() == content:
                continue
        fresh = directory / f".{name}.new"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        fresh.replace(path)
