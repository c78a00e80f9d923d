"""The demo disk, built once for all tests of a machine and kept: building takes seconds, and it never changes."""

from __future__ import annotations

import fcntl
import hashlib
import warnings
from pathlib import Path

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # the demo's module `crypt`
    import kumo.host.demo
    from kumo.host.demo import build_demo_disk

CACHE = Path("/var/tmp/kumo-test-cache")


def demo_disk() -> Path:
    """The disk's path; builds it unless the builder's sources are those of the one that is there. Blocks."""
    digest = hashlib.sha256()
    for source in sorted(Path(kumo.host.demo.__file__).parent.rglob("*")):
        if source.is_file() and source.suffix != ".pyc":
            digest.update(source.read_bytes())
    path = CACHE / f"demo-{digest.hexdigest()[:12]}.qcow2"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            fresh = path.with_suffix(".new")
            build_demo_disk(fresh, CACHE / "packages").rename(path)
    return path
