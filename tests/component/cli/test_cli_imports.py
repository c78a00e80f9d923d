"""What a start does not import: a cloud is ready within two seconds, of which importing is the half."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.component
EXPRESSIONS = ("kumo.machinery.cel", "re2", "jsonpatch")
"""Imported with the first expression or JSON patch."""
ABSENT = {
    "kumo.cli.control_plane": (
        *EXPRESSIONS,
        "dnslib",
        "google.protobuf",
        "grpc",
        "kumo.kubernetes.kubelet",
        "kumo.store.etcd.engine",
        "libvirt",
        "multiprocessing",
        "nacl",
        "nftables",
        "pycdlib",
        "pyroute2",
    ),
    "kumo.cli.node": (
        *EXPRESSIONS,
        "argon2",
        "joserfc",
        "kumo.kubernetes.apiserver",
        "kumo.kubevirt.virt_api",
        "kumo.openstack",
        "kumo.store.etcd.engine",
        "libvirt",
        "nacl",
    ),
    "kumo.cli.supervisor": ("aiohttp", "asyncio", "click", "cryptography", "kumo.api.schema", "msgspec", "yaml"),
    "kumo.cli.main": ("aiohttp", "asyncio", "cryptography", "grpc", "kumo.kubernetes", "msgspec", "rich", "yaml"),
}


@pytest.mark.parametrize("module", sorted(ABSENT))
def test_what_a_start_does_not_need_is_not_imported(module: str) -> None:
    code = f"import sys, {module}; print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert sorted(set(ABSENT[module]) & set(done.stdout.split())) == []
