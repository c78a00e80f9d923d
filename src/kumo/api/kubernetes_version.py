"""The version of Kubernetes whose API and behaviour kumo presents: said here, and nowhere else."""

from __future__ import annotations

VERSION = "1.36.0"
"""The minor version is what is followed, with all of its defaults; no patch version adds to it."""
GIT_VERSION = f"v{VERSION}+kumo"
"""What `/version`, nodes and metrics say: the version, and whose build this is (build metadata as of SemVer)."""
