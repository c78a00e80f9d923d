"""What Go makes of a built-in kind's fields: which empty ones are left out of JSON, and how its messages name types.

Upstream reads JSON into Go structs and writes them out again: a field that is empty and optional disappears, one that
is no pointer and not optional appears. `kumo/api/data/zeros.txt` (made by tools/generate_protobuf.py) has a line a
message: `core.v1.Container name+s image- resources+o imagePullPolicy-=v1.PullPolicy ...`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import NamedTuple

_TOLD_APART = {("io.k8s.api.autoscaling.v2.HPAScalingRules", "policies")}
"""Lists of which upstream's defaults tell the empty one from none."""
_PACKAGES = (
    "io.k8s.api.",
    "io.k8s.apimachinery.pkg.apis.",
    "io.k8s.apiextensions-apiserver.pkg.apis.",
    "io.k8s.kube-aggregator.pkg.apis.",
)


@cache
def _lines() -> dict[str, str]:
    file = resources.files("kumo.api").joinpath("data/zeros.txt")
    if not file.is_file():
        raise FileNotFoundError("kumo/api/data/zeros.txt is missing: run `make setup` (tools/generate_protobuf.py)")
    return dict(line.partition(" ")[::2] for line in file.read_text().splitlines())


class Marks(NamedTuple):
    """What is known of a message's fields.

    `zeros`: `-` for a field that is left out when zero, else the kind of zero that is always shown: `s` text, `i`
    number, `b` boolean, `o` object, `l` list or map, `t` time and `p` pointer (null all three), `q` quantity, `n`
    number or text; pointers that may be left out are not in it. `types`: the Go types that have names of their own.
    `embedded`: the struct that a field is in.
    """

    zeros: Mapping[str, str]
    types: Mapping[str, str]
    embedded: Mapping[str, str]


@cache
def marks_of(definition: str) -> Marks:
    """The marks of a definition's fields; none for a definition outside Kubernetes' own API."""
    found = Marks({}, {}, {})
    prefix = next((p for p in _PACKAGES if definition.startswith(p)), "")
    zeros, types, embedded = {}, {}, {}
    for item in _lines().get(definition.removeprefix(prefix), "").split() if prefix else ():
        item, _, kind = item.partition("=")
        name, plus, zero = item.partition("+")
        name, dropped = name.removesuffix("-"), name.endswith("-")
        if name.startswith("@"):
            struct, _, name = name[1:].rpartition(".")
            embedded[name] = struct
        if (plus or dropped) and (definition, name) not in _TOLD_APART:
            zeros[name] = zero or "-"
        if kind:
            types[name] = kind
    return Marks(zeros, types, embedded) if prefix else found


def zeros_of(definition: str) -> Mapping[str, str]:
    """The `zeros` of a definition."""
    return marks_of(definition).zeros
