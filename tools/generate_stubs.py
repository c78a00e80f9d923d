"""Make the protobuf modules of those who speak gRPC from their .proto files: `python tools/generate_stubs.py`.

The result, `src/kumo/.../stubs/*_pb2.py` and `.pyi`, is not kept in git but goes into the wheel. Needs grpcio-tools,
which only builds need.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

PACKAGES = (
    Path("kumo/host/containerd/stubs"),
    Path("kumo/host/csi/stubs"),
    Path("kumo/kubernetes/kubelet/claims/stubs"),
    Path("kumo/kubernetes/kubelet/devices/stubs"),
    Path("kumo/store/etcd/stubs"),
)
"""Each is made from the folder `proto` beside it."""


def generate(source: Path, package: Path) -> list[Path]:
    """Compile every .proto beside `package`, a folder below `source`; the files that were written."""
    from importlib.resources import files

    from grpc_tools import protoc

    target = source / package
    target.mkdir(parents=True, exist_ok=True)
    (target / "__init__.py").write_text('"""Protobuf messages, made by tools/generate_stubs.py."""\n')
    with TemporaryDirectory() as scratch:
        # The path below the include root becomes the import path of the generated module.
        inner = Path(scratch) / package
        inner.mkdir(parents=True)
        names = []
        for proto in sorted((source / package.parent / "proto").glob("*.proto")):
            (inner / proto.name).write_bytes(proto.read_bytes())
            names.append(str(inner / proto.name))
        well_known = files("grpc_tools") / "_proto"
        code = protoc.main(
            ["protoc", f"-I{scratch}", f"-I{well_known}", f"--python_out={source}", f"--pyi_out={source}", *names]
        )
    if code != 0:
        raise SystemExit(f"protoc ended with {code}")
    return sorted(target.glob("*_pb2.py"))


def main() -> None:
    """Generate into this checkout's `src`."""
    for package in PACKAGES:
        for path in generate(Path(__file__).resolve().parent.parent / "src", package):
            sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
