"""Make the table of protobuf field numbers of the built-in kinds, from Debian's packages of Kubernetes' Go types.

Writes `src/kumo/kubernetes/apiserver/protobuf/fields.txt` (git-ignored; `make setup` runs this, the wheel carries it)
from the packages golang-k8s-{api,apimachinery,apiextensions-apiserver}-dev of the newest Debian suite with them, and
`src/kumo/api/data/zeros.txt`, which says what JSON does with zero values. One line a message:

    package.Message name=number:type ...

`type` is s (string), i (integer), b (boolean), d (double), y (bytes) or the name of a message; before it `*` for a
repeated field or `%` for a map from strings; after it `-` when a zero value is left out of JSON. A field without a name
is inlined: its fields stand among its parent's. In `zeros.txt`:

    package.Message name- name+kind name=Type @Embedded.name- ...

`-` is after a field that is left out when it is zero or empty, `+` before the kind of one that is always there (`s`,
`i`, `b`, `o` for an object, `l` for a list or map, `t` for a time, `p` for a pointer, `q`, `n` for an IntOrString), `=`
before its Go type when that has a name of its own; a name after `@` is of the embedded struct that the field is in.
What has none of these is not listed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from kumo.host.demo.debian import Archive, NoPackages

TARGET = Path(__file__).resolve().parents[1] / "src/kumo/kubernetes/apiserver/protobuf/fields.txt"
ZEROS = Path(__file__).resolve().parents[1] / "src/kumo/api/data/zeros.txt"
PACKAGES = ("golang-k8s-api-dev", "golang-k8s-apimachinery-dev", "golang-k8s-apiextensions-apiserver-dev")
SUITES = ("sid", "trixie", "bookworm")
GROUPS = (
    "admissionregistration",
    "apps",
    "authentication",
    "authorization",
    "autoscaling",
    "batch",
    "certificates",
    "coordination",
    "core",
    "discovery",
    "events",
    "flowcontrol",
    "networking",
    "node",
    "policy",
    "rbac",
    "resource",
    "scheduling",
    "storage",
)
_STRUCT = re.compile(r"^type (\w+) struct ?\{((?:\n.*?^)?)\}", re.M | re.S)
_NAMED = re.compile(r"^type (\w+) ([\w\[\].*]+)\s*$", re.M)
_FIELD = re.compile(r'^\s*(?:(\w+)\s+)?([\w\[\].*]+)\s+`json:"([^"]*)"[^`]*?protobuf:"([^"]*)"', re.M)
_SCALARS = {
    **dict.fromkeys(("string", "types.UID"), "s"),
    **dict.fromkeys(("int32", "int64", "int", "uint32", "uint64", "uint16", "int16", "uint8", "byte"), "i"),
    "bool": "b",
    "float64": "d",
    "float32": "d",
}
_AGGREGATION = (
    "apiregistration.v1.APIService metadata=1:meta.v1.ObjectMeta spec=2:apiregistration.v1.APIServiceSpec"
    " status=3:apiregistration.v1.APIServiceStatus",
    "apiregistration.v1.APIServiceCondition type=1:s status=2:s lastTransitionTime=3:Time reason=4:s- message=5:s-",
    "apiregistration.v1.APIServiceSpec service=1:apiregistration.v1.ServiceReference group=2:s- version=3:s-"
    " insecureSkipTLSVerify=4:b- caBundle=5:y- groupPriorityMinimum=7:i versionPriority=8:i",
    "apiregistration.v1.APIServiceStatus conditions=1:*apiregistration.v1.APIServiceCondition",
    "apiregistration.v1.ServiceReference namespace=1:s- name=2:s- port=3:i",
)
"""The kind of the one group that Debian has no package of."""
_AGGREGATION_ZEROS = (
    "apiregistration.v1.APIService metadata+o spec+o status+o",
    "apiregistration.v1.APIServiceCondition type+s=v1.APIServiceConditionType status+s=v1.ConditionStatus"
    " lastTransitionTime+t reason- message-",
    "apiregistration.v1.APIServiceSpec group- version- insecureSkipTLSVerify- caBundle- groupPriorityMinimum+i"
    " versionPriority+i",
    "apiregistration.v1.APIServiceStatus conditions-",
    "apiregistration.v1.ServiceReference namespace- name-",
)
"""What becomes of its zero values."""
_ZERO_MARKS = {"s": "s", "i": "i", "d": "i", "b": "b", "y": "l", "Quantity": "q", "IntOrString": "n"}
_ZERO_MARKS |= dict.fromkeys(("Time", "MicroTime"), "t")
_FOREIGN = {
    "resource.Quantity": "Quantity",
    "intstr.IntOrString": "IntOrString",
    "runtime.RawExtension": "RawExtension",
    "metav1.Time": "Time",
    "metav1.MicroTime": "MicroTime",
    "metav1.Duration": "Duration",
    "metav1.FieldsV1": "FieldsV1",
    "apiextensions.v1.JSON": "RawExtension",
    "apiextensions.v1.JSONSchemaPropsOrArray": "SchemaOrArray",
    "apiextensions.v1.JSONSchemaPropsOrBool": "SchemaOrBool",
    "apiextensions.v1.JSONSchemaPropsOrStringArray": "SchemaOrStrings",
    "meta.v1.Time": "Time",
    "meta.v1.MicroTime": "MicroTime",
    "meta.v1.Duration": "Duration",
    "meta.v1.FieldsV1": "FieldsV1",
}
_PACKAGES = {"metav1": "meta.v1", "v1": "core.v1", "corev1": "core.v1"}


def parse(package: str, directory: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The package's structs (name to body) and its other named types (name to what they stand for)."""
    structs: dict[str, str] = {}
    named: dict[str, str] = {}
    for path in sorted(directory.glob("*types*.go")):
        text = path.read_text()
        structs |= {f"{package}.{m[1]}": m[2] for m in _STRUCT.finditer(text)}
        named |= {f"{package}.{m[1]}": m[2] for m in _NAMED.finditer(text) if m[2] != "struct"}
    return structs, named


class Table:
    """All structs and named types of all packages."""

    def __init__(self) -> None:
        self.structs: dict[str, str] = {}
        self.named: dict[str, str] = {}

    def qualified(self, package: str, name: str) -> str:
        """The full name of a type as it is written in that package."""
        if "." not in name:
            return f"{package}.{name}"
        prefix, _, short = name.partition(".")
        return f"{_PACKAGES.get(prefix, prefix)}.{short}"

    def type_of(self, package: str, written: str) -> str:
        """The notation of a Go type."""
        written = written.removeprefix("*")
        if written in ("[]byte", "[]uint8"):
            return "y"
        if written.startswith("[]"):
            return "*" + self.type_of(package, written[2:])
        if written.startswith("map["):
            return "%" + self.type_of(package, written.partition("]")[2])
        if written in _SCALARS:
            return _SCALARS[written]
        full = self.qualified(package, written)
        for known in (written, full):
            if known in _FOREIGN:
                return _FOREIGN[known]
        if full in self.structs:
            return full
        if full in self.named:
            target = self.named[full]
            inner = self.type_of(full.rpartition(".")[0], target)
            # A named list is a message of its own on the wire.
            return f"={inner[1:]}" if inner.startswith("*") and package != "" and target.startswith("[]") else inner
        if full in ("types.UID", "meta.v1.UID", "types.NodeName"):
            return "s"
        return "s"

    def line(self, name: str) -> str:
        """The line of a message."""
        package = name.rpartition(".")[0]
        parts = []
        for _, written, json_tag, wire_tag in _FIELD.findall(self.structs[name]):
            json_name, _, options = json_tag.partition(",")
            tags = wire_tag.split(",")
            if len(tags) < 2 or not tags[1].isdigit():
                continue
            kind = self.type_of(package, written)
            if kind.startswith("=") and "rep" in tags:
                kind = f"*{kind[1:]}"
            pointer = written.startswith("*")
            drops = "omitempty" in options and not pointer and kind[0] not in "*%=" and kind in "sibdy"
            shown = "" if "inline" in options else json_name
            parts.append(f"{shown}={tags[1]}:{kind}{'-' if drops else ''}")
        return f"{name} {' '.join(parts)}"

    def zeros(self, name: str) -> str:
        """The line of a message in the other table: what becomes of its zero values."""
        return f"{name} {' '.join(self._zeros(name))}"

    def _zeros(self, name: str, inside: str = "") -> Iterator[str]:
        package = name.rpartition(".")[0]
        for _, written, json_tag, _ in _FIELD.findall(self.structs[name]):
            json_name, _, options = json_tag.partition(",")
            kind = self.type_of(package, written).removeprefix("=")
            full = self.qualified(package, written)
            if "inline" in options:
                if full in self.structs:
                    yield from self._zeros(full, "" if json_name else f"{inside or '@'}{full.rpartition('.')[2]}.")
                continue
            mark = ""
            if written.startswith("*"):
                mark = "" if options else "+p"
            elif "omitzero" not in options and json_name != "creationTimestamp":
                mark = _ZERO_MARKS.get(kind, "l" if kind[0] in "*%" or written.startswith("[]") else "o")
                mark = "-" if "omitempty" in options and mark not in "oqnt" else f"+{mark}"
            shown = self.go_type(package, written)
            mark += f"={shown}" if shown else ""
            if mark or inside:
                yield f"{inside}{json_name}{mark}"

    def go_type(self, package: str, written: str) -> str:
        """A scalar's, list's or map's Go type as Go's messages have it, if it has a name of its own; else empty."""
        written = written.removeprefix("*")
        lists = written.startswith("[]")
        bare = written.removeprefix("[]")
        full = self.qualified(package, bare)
        if bare == "types.UID":
            return f"{'[]' if lists else ''}types.UID"
        if full not in self.named or full in _FOREIGN or bare in _FOREIGN:
            return ""
        short = full.split(".")
        return f"{'[]' if lists else ''}{short[-2]}.{short[-1]}"


def make(source: Path) -> tuple[str, str]:
    """Both tables, from the directory of k8s.io's packages."""
    api, machinery, extensions = (source / name for name in ("api", "apimachinery", "apiextensions-apiserver"))
    table = Table()
    sources = [(f"{group}.v1", api / group / "v1") for group in GROUPS]
    sources += [("autoscaling.v2", api / "autoscaling" / "v2"), ("meta.v1", machinery / "pkg/apis/meta/v1")]
    sources += [("apiextensions.v1", extensions / "pkg/apis/apiextensions/v1")]
    for package, directory in sources:
        structs, named = parse(package, directory)
        table.structs |= structs
        table.named |= named
    known = [name for name in sorted(table.structs) if name not in _FOREIGN]
    zeros = (line for line in map(table.zeros, known) if not line.endswith(" "))
    return _text((*map(table.line, known), *_AGGREGATION)), _text((*zeros, *_AGGREGATION_ZEROS))


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def main() -> int:
    """Fetch the packages, write the table; the exit code."""
    for suite in SUITES:
        with TemporaryDirectory(prefix="kumo-protobuf-") as scratch:
            archive = Archive(Path(scratch), suite, "amd64")
            unpacked = Path(scratch) / "unpacked"
            try:
                archive.update()
                archive.download(list(PACKAGES), unpacked)
            except NoPackages as error:
                print(f"not in {suite}: {error}", file=sys.stderr)
                continue
            source = unpacked / "usr/share/gocode/src/k8s.io"
            fields, zeros = make(source)
            ZEROS.parent.mkdir(parents=True, exist_ok=True)
            ZEROS.write_text(zeros)
            TARGET.write_text(fields)
            return 0
    print("no suite of Debian has Kubernetes' Go types", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
