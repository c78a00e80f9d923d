"""What becomes of zero values in a built-in kind's JSON: which fields are left out, which are always there.

Upstream reads JSON into Go structs and writes them out again: a field that is empty and optional disappears, one that
is no pointer and not optional appears. `kumo/api/data/zeros.txt` (made by tools/generate_protobuf.py) has a line a
message: `core.v1.Container name+s image- resources+o ...`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources

_PACKAGES = ("io.k8s.api.", "io.k8s.apimachinery.pkg.apis.")


@cache
def _lines() -> dict[str, str]:
    file = resources.files("kumo.api").joinpath("data/zeros.txt")
    if not file.is_file():
        raise FileNotFoundError("kumo/api/data/zeros.txt is missing: run `make setup` (tools/generate_protobuf.py)")
    return dict(line.partition(" ")[::2] for line in file.read_text().splitlines())


@cache
def zeros_of(definition: str) -> Mapping[str, str]:
    """The marks of a definition's fields: `-` for left out when zero, else the kind of zero that is always shown.

    Kinds: `s` text, `i` number, `b` boolean, `o` object, `l` list or map, `q` quantity, `n` number or text. Fields that
    are pointers are not in it; neither is anything of a definition outside Kubernetes' own API.
    """
    for prefix in _PACKAGES:
        if definition.startswith(prefix):
            line = _lines().get(definition.removeprefix(prefix), "")
            return {name: kind or "-" for name, kind in map(_mark, line.split())}
    return {}


def _mark(item: str) -> tuple[str, str]:
    return (item[:-1], "-") if item.endswith("-") else (item[:-2], item[-1])
