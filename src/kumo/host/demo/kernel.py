"""A kernel package's modules: which ones need which, without depmod."""

from __future__ import annotations

import lzma
import re
from pathlib import Path

_DEPENDS = re.compile(rb"\0depends=([^\0]*)\0")


class Modules:
    """The modules of one kernel, by name (with underscores)."""

    def __init__(self, directory: Path) -> None:
        self.version = directory.name
        self._files = {_name(path.name.split(".ko")[0]): path for path in directory.rglob("*.ko*")}
        self._depends: dict[str, list[str]] = {}
        self._contents: dict[str, bytes] = {}

    def content(self, name: str) -> bytes:
        """The module's bytes, decompressed."""
        if name not in self._contents:
            path = self._files[name]
            data = path.read_bytes()
            self._contents[name] = lzma.decompress(data) if path.suffix == ".xz" else data
        return self._contents[name]

    def depends(self, name: str) -> list[str]:
        """The modules that this one needs directly."""
        if name not in self._depends:
            match = _DEPENDS.search(self.content(name))
            names = match.group(1).decode().split(",") if match and match.group(1) else []
            self._depends[name] = [_name(n) for n in names]
        return self._depends[name]

    def closure(self, names: list[str]) -> list[str]:
        """These modules and all they need, in an order in which they can be loaded; built-in ones are left out."""
        found: list[str] = []

        def add(name: str) -> None:
            if name in found or name not in self._files:
                return
            for other in self.depends(name):
                add(other)
            found.append(name)

        for name in names:
            add(_name(name))
        return found


def _name(text: str) -> str:
    return text.replace("-", "_")
