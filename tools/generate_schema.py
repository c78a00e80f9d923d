#!/usr/bin/env python3
"""Write `src/kumo/api/data/schema.bin`: the schema of every built-in kind of Kubernetes 1.36, compressed.

Source: the definitions that the `kubernetes-validate` package carries (a build requirement only; users do not install
it). They were changed there for JSON Schema validators (`type: [string, null]`); this puts them back into the form of
Kubernetes' own OpenAPI documents. `kumo.api.schema.definitions` reads the file and says how it is laid out.
"""

from __future__ import annotations

import argparse
import json
import lzma
import struct
import sys
from importlib.metadata import files
from pathlib import Path
from typing import Any

VERSION = "v1.36.0-local"
MAGIC = b"kumoschema1\n"
TARGET = Path(__file__).resolve().parent.parent / "src" / "kumo" / "api" / "data" / "schema.bin"

# What the validators' form lost: these types hold text and more, or anything.
RESTORED: dict[str, dict[str, Any]] = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"type": "string", "format": "int-or-string"},
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"type": "string", "format": "quantity"},
}


def find_definitions() -> Path:
    """The path of the installed package's definitions."""
    for file in files("kubernetes-validate") or ():
        if file.name == "_definitions.json" and file.parent.name == VERSION:
            return Path(str(file.locate()))
    sys.exit(
        f"generate_schema: kubernetes-validate is not installed, or has no {VERSION}; install the dev requirements"
    )


def normalize(schema: Any) -> Any:
    """The schema in the form of Kubernetes' OpenAPI documents, recursively."""
    if isinstance(schema, list):
        return [normalize(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    out: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "properties":
            out[key] = {name: normalize(child) for name, child in value.items()}
            for name in ("apiVersion", "kind"):
                if name in out[key]:
                    out[key][name].pop("enum", None)
        elif key == "type" and isinstance(value, list):
            out[key] = next(kind for kind in value if kind != "null")
        elif key == "enum":
            out[key] = [item for item in value if item is not None]
        elif key == "$ref":
            out[key] = value.rsplit("/", 1)[-1]
        else:
            out[key] = normalize(value)
    return out


def take_descriptions(schema: dict[str, Any]) -> dict[str, Any]:
    """Remove the descriptions from a definition; `{"": its own, property: its}`, as they were."""
    found: dict[str, Any] = {}
    if "description" in schema:
        found[""] = schema.pop("description")
    for name, child in schema.get("properties", {}).items():
        if "description" in child:
            found[name] = child.pop("description")
    return found


def build(source: dict[str, Any]) -> bytes:
    """The file's bytes."""
    definitions = {name: {**normalize(d), **RESTORED.get(name, {})} for name, d in sorted(source.items())}
    for name in RESTORED:
        definitions[name].pop("oneOf", None)
    descriptions = {name: take_descriptions(d) for name, d in definitions.items()}
    kinds: dict[str, str] = {}
    for name, definition in definitions.items():
        for gvk in definition.get("x-kubernetes-group-version-kind", ()):
            kinds.setdefault(f"{gvk['group']}/{gvk['version']}/{gvk['kind']}", name)
    parts = [
        lzma.compress(json.dumps(part, separators=(",", ":"), sort_keys=True).encode(), preset=9)
        for part in (kinds, definitions, descriptions)
    ]
    return MAGIC + struct.pack(">3I", *map(len, parts)) + b"".join(parts)


def main() -> None:
    """Generate the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=TARGET)
    target: Path = parser.parse_args().output
    data = build(json.loads(find_definitions().read_bytes())["$defs"])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    print(f"{target.name}: {len(data):,} bytes")


if __name__ == "__main__":
    main()
