"""What a node has of pods, by the pods' UIDs, and what is left of pods that are no more. Reads the kernel and files."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Collection
from pathlib import Path

from kumo.cli import leftovers
from kumo.cli.instance import Instance, load
from kumo.host import mounts

_UID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Traces:
    """The traces of pods on an instance's node. Network namespaces are remembered: they carry no pod's name."""

    def __init__(self, data_dir: Path) -> None:
        found = load(data_dir)
        assert found is not None
        self.instance: Instance = found
        self._namespaces: set[Path] = set()

    def note(self) -> None:
        """Remember the pods' network namespaces of this moment."""
        self._namespaces |= set(leftovers.namespaces(self.instance))

    def of_others(self, uids: Collection[str]) -> dict[str, list[str]]:
        """The UIDs of other pods than these of which there is something, by kind; left-over network namespaces."""
        named = {
            "directories": self._directories(),
            "cgroups": self._cgroups(),
            "mounts": [m.path for m in mounts.mount_points() if m.path.startswith(f"{self.instance.node_dir}/pods/")],
        }
        found: dict[str, list[str]] = {}
        for kind, paths in named.items():
            found[kind] = sorted({uid for path in paths for uid in _UID.findall(path)[:1]} - set(uids))
        current = set(leftovers.namespaces(self.instance))
        found["namespaces"] = [str(path) for path in self._namespaces - current if path.exists()]
        return {kind: paths for kind, paths in found.items() if paths}

    def counts(self) -> dict[str, int]:
        """How many of each there are that every pod with one container has one of."""
        mounted = [m.path for m in mounts.mount_points() if m.path.startswith(f"{self.instance.containerd_dir}/")]
        sandboxes = len([path for path in mounted if path.endswith("/shm")])
        roots = len([path for path in mounted if path.endswith("/rootfs")])
        links = subprocess.run(
            ["ip", "-o", "link", "show", "master", self.instance.bridge], capture_output=True, text=True, check=True
        )
        return {
            "addresses": len(leftovers.namespaces(self.instance)),
            "devices": len(links.stdout.splitlines()),
            "sandboxes": sandboxes,
            "containers": roots - sandboxes,
            "shims": len(self._shims()),
            "cgroups": len({uid for path in self._cgroups() for uid in _UID.findall(path)}),
            "directories": len(self._directories()),
        }

    def _directories(self) -> list[str]:
        return [str(path) for path in (self.instance.node_dir / "pods").iterdir()]

    def _cgroups(self) -> list[str]:
        return [
            str(p) for root in leftovers.cgroup_directories(self.instance) for p in root.rglob("pod*") if p.is_dir()
        ]

    def _shims(self) -> list[str]:
        socket = os.fsencode(str(self.instance.containerd_dir))
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    line = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                if b"containerd-shim" in line.split(b"\0")[0] and socket in line:
                    found.append(entry.name)
        return found
