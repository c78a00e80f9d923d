"""Where the bytes of an image lie, by the SHA-512 of their content."""

from __future__ import annotations

from pathlib import Path


def blob_path(directory: Path, sha512: str) -> Path:
    """The file that holds the content."""
    return directory / "sha512" / sha512
