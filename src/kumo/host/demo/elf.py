"""Which shared libraries a program needs, read from its ELF headers: running ldd on foreign files would run them."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NEEDED, _DT_STRTAB = 1, 5


def needed(data: bytes) -> tuple[list[str], str]:
    """The libraries that a little-endian ELF file asks for by name, and its loader's path ("" if static)."""
    if data[:4] != b"\x7fELF" or data[5] != 1:
        return [], ""
    wide = data[4] == 2
    offset = struct.unpack_from("<Q" if wide else "<I", data, 32 if wide else 28)[0]
    size, count = struct.unpack_from("<HH", data, 54 if wide else 42)
    loads, dynamic, loader = [], b"", ""
    for i in range(count):
        fields = struct.unpack_from("<IIQQQQ" if wide else "<IIIIII", data, offset + i * size)
        kind, start, address = fields[0], fields[2 if wide else 1], fields[3 if wide else 2]
        length = fields[5 if wide else 4]
        if kind == _PT_LOAD:
            loads.append((address, start, length))
        elif kind == _PT_DYNAMIC:
            dynamic = data[start : start + length]
        elif kind == _PT_INTERP:
            loader = data[start : start + length].rstrip(b"\0").decode()
    entries = list(struct.iter_unpack("<QQ" if wide else "<II", dynamic))
    strings = next((value for tag, value in entries if tag == _DT_STRTAB), 0)
    table = next((start + strings - a for a, start, length in loads if a <= strings < a + length), 0)
    names = []
    for tag, value in entries:
        if tag == _DT_NEEDED:
            at = table + value
            names.append(data[at : data.index(b"\0", at)].decode())
    return names, loader


class Libraries:
    """The shared libraries of unpacked packages, by name."""

    def __init__(self, packages: Path) -> None:
        self._found: dict[str, Path] = {}
        for place in ("lib", "usr/lib", "lib64", "usr/lib64"):
            for pattern in ("*.so*", "*-linux-gnu/*.so*"):
                for path in sorted((packages / place).glob(pattern)):
                    self._found.setdefault(path.name, path)

    def find(self, name: str) -> Path | None:
        """The library's file, or None."""
        return self._found.get(name)

    def closure(self, programs: Iterable[Path]) -> dict[str, Path]:
        """Every library that the programs need, directly or not, by name. Raises LookupError if one is missing."""
        wanted: dict[str, Path] = {}
        queue = list(programs)
        while queue:
            program = queue.pop()
            names, loader = needed(program.read_bytes())
            for name in [*names, *([Path(loader).name] if loader else [])]:
                if name in wanted:
                    continue
                if name not in self._found:
                    raise LookupError(f"{program.name} needs {name}, which no package has brought")
                wanted[name] = self._found[name]
                queue.append(self._found[name])
        return wanted
