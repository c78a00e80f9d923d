"""Backup, restore and migration by the command: real files, a real etcd; what is broken is refused before any write."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kumo.cli.instance import Instance, choose, load, save
from kumo.cli.main import kumo
from kumo.cli.restore import REVISIONS_AHEAD
from kumo.cli.stores import open_store
from kumo.store.base import Compacted, Corrupted, KeyValue
from kumo.store.etcd.engine import EtcdStore
from support.etcd import EtcdCluster

pytestmark = pytest.mark.component
KEYS = 1200


def run(*arguments: object) -> Result:
    return CliRunner().invoke(kumo, [str(a) for a in arguments])


def ok(*arguments: object) -> str:
    done = run(*arguments)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def refused(*arguments: object) -> str:
    done = run(*arguments)
    assert done.exit_code != 0
    return f"{done.output} {done.exception}"


async def fill(instance: Instance) -> int:
    store = open_store(instance)
    await store.start()
    lease = await store.grant(3600)
    await asyncio.gather(*(store.put(f"/registry/x/{n:05}", b"v%d" % n * 50) for n in range(KEYS - 1)))
    await store.put("/registry/x/00001", b"changed")
    await store.delete("/registry/x/00002")
    await store.put("/registry/leased", b"1", lease=lease)
    await store.put("/registry/ümlaut", bytes(range(256)))
    revision = await store.current_revision()
    await store.stop()
    return revision


async def content(instance: Instance) -> tuple[int, dict[str, KeyValue]]:
    store = open_store(instance)
    await store.start()
    try:
        found = await store.range("/")
        return found.revision, {kv.key: kv for kv in found.kvs}
    finally:
        await store.stop()


def values(found: dict[str, KeyValue]) -> dict[str, tuple[bytes, bool]]:
    return {key: (kv.value, bool(kv.lease)) for key, kv in found.items()}


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    made = choose(tmp_path / "k", port=21000, node_name="n1")
    save(made)
    made.pki_dir.mkdir()
    (made.pki_dir / "ca.key").write_text("secret")
    (made.pki_dir / "ca.key").chmod(0o600)
    (made.root / "admission.yaml").write_text("kind: AdmissionConfiguration\n")
    made.images_dir.mkdir()
    (made.images_dir / "i1").write_bytes(b"image" * 1000)
    return made


async def test_a_backup_is_restored_into_an_empty_directory(instance: Instance, tmp_path: Path) -> None:
    await fill(instance)
    revision, before = await content(instance)
    store = open_store(instance)
    await store.start()  # The cloud runs while it is backed up.
    said = await asyncio.to_thread(ok, "backup", tmp_path / "b", "--data-dir", instance.root)
    assert f"Saved {KEYS} keys as of revision {revision}" in said
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o600
    newer = await store.put("/registry/x/00001", b"after the backup")
    await store.stop()
    await asyncio.to_thread(ok, "restore", tmp_path / "b", "--data-dir", tmp_path / "r")
    again = load(tmp_path / "r")
    assert again is not None and again.service_cidr == instance.service_cidr and again.node_name == "n1"
    assert (again.pki_dir / "ca.key").read_text() == "secret"
    assert (again.pki_dir / "ca.key").stat().st_mode & 0o777 == 0o600
    assert (again.root / "admission.yaml").exists() and not again.images_dir.exists()
    restored, after = await content(again)
    assert values(after) == values(before)
    assert restored >= revision + REVISIONS_AHEAD
    store = open_store(again)
    await store.start()
    try:
        with pytest.raises(Compacted):
            await anext(store.watch("/", newer))  # A version from before that has never been here: 410.
        assert await store.put("/registry/x/00001", b"3", expect=after["/registry/x/00001"].mod_revision) > restored
    finally:
        await store.stop()
    assert not list((tmp_path / "r").glob("**/*.new"))


async def test_restore_replaces_only_when_told_to(instance: Instance, tmp_path: Path) -> None:
    await fill(instance)
    await asyncio.to_thread(ok, "backup", tmp_path / "b", "--data-dir", instance.root, "--images")
    (instance.images_dir / "i1").unlink()
    assert "--yes" in await asyncio.to_thread(refused, "restore", tmp_path / "b", "--data-dir", instance.root)
    first = await content(instance)
    await asyncio.to_thread(ok, "restore", tmp_path / "b", "--data-dir", instance.root, "--yes")
    second = await content(instance)
    assert values(first[1]) == values(second[1]) and second[0] > first[0]
    assert (instance.images_dir / "i1").read_bytes() == b"image" * 1000


def _cut(data: bytes) -> bytes:
    return data[: len(data) * 2 // 3]


def _flip(data: bytes) -> bytes:
    raw = bytearray(gzip.decompress(data))
    raw[700] ^= 1
    return gzip.compress(bytes(raw))


def _without_its_manifest(data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(data)) as old, tarfile.open(fileobj=out, mode="w:gz") as new:
        for info in old:
            if info.name != "manifest.json":
                new.addfile(info, old.extractfile(info))
    return out.getvalue()


def _foreign(_: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as new:
        new.addfile(tarfile.TarInfo("../../etc/passwd"))
    return out.getvalue()


def _newer(data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(data)) as old, tarfile.open(fileobj=out, mode="w:gz") as new:
        for info in old:
            body = old.extractfile(info)
            assert body is not None
            text = body.read()
            if info.name == "manifest.json":
                text = json.dumps(json.loads(text) | {"format": 99}).encode()
                info.size = len(text)
            new.addfile(info, io.BytesIO(text))
    return out.getvalue()


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        (_cut, "cut off"),
        (_flip, "damaged"),
        (_without_its_manifest, "end is missing"),
        (_foreign, "no backup of kumo's has"),
        (_newer, "newer version"),
        (lambda _: b"", "no whole backup"),
        (lambda _: b"hello" * 1000, "no whole backup"),
    ],
)
async def test_a_broken_backup_is_refused_and_nothing_is_written(
    instance: Instance, tmp_path: Path, damage: Callable[[bytes], bytes], finding: str
) -> None:
    await fill(instance)
    await asyncio.to_thread(ok, "backup", tmp_path / "b", "--data-dir", instance.root)
    (tmp_path / "broken").write_bytes(damage((tmp_path / "b").read_bytes()))
    before = await content(instance)
    said = await asyncio.to_thread(refused, "restore", tmp_path / "broken", "--data-dir", tmp_path / "r", "--yes")
    assert finding in said
    assert not (tmp_path / "r").exists()
    await asyncio.to_thread(refused, "restore", tmp_path / "broken", "--data-dir", instance.root, "--yes")
    assert await content(instance) == before


async def test_migration_to_etcd_and_back(etcd: EtcdCluster, instance: Instance, tmp_path: Path) -> None:
    revision = await fill(instance)
    _, before = await content(instance)
    file = instance.store_path.read_bytes()
    address = etcd.fresh()
    tls = ("--store-ca", address.ca, "--store-cert", address.cert, "--store-key", address.key)
    said = await asyncio.to_thread(ok, "store", "migrate", "--data-dir", instance.root, "--to", address, *tls)
    assert f"Moved {KEYS} keys" in said and "checksums agree" in said
    assert instance.store_path.read_bytes() == file
    moved = load(instance.root)
    assert moved is not None and moved.etcd["url"] == str(address)
    current, there = await content(moved)
    assert values(there) == values(before)
    assert min(kv.mod_revision for kv in there.values()) > revision
    store = EtcdStore(address)
    await store.start()
    try:
        lease = there["/registry/leased"].lease
        assert 3500 < await store.lease_seconds(lease) <= 3600
        with pytest.raises(Compacted):
            await anext(store.watch("/", revision - 5))
        assert await store.put("/registry/x/00003", b"new", expect=there["/registry/x/00003"].mod_revision) > current
    finally:
        await store.stop()
    assert f"keys:     {KEYS}" in await asyncio.to_thread(ok, "store", "status", "--data-dir", instance.root)
    said = await asyncio.to_thread(refused, "store", "migrate", "--data-dir", instance.root, "--to", "sqlite")
    assert "--yes" in said
    await asyncio.to_thread(ok, "store", "migrate", "--data-dir", instance.root, "--to", "sqlite", "--yes")
    back = load(instance.root)
    assert back is not None and not back.etcd
    last, here = await content(back)
    assert here["/registry/x/00003"].value == b"new" and last > current
    assert set(here) == set(there)


async def test_a_backup_of_etcd_goes_anywhere(etcd: EtcdCluster, instance: Instance, tmp_path: Path) -> None:
    address = etcd.fresh()
    on_etcd = replace(
        instance,
        etcd={"url": str(address), "ca": str(address.ca), "cert": str(address.cert), "key": str(address.key)},
    )
    save(on_etcd)
    await fill(on_etcd)
    _, before = await content(on_etcd)
    await asyncio.to_thread(ok, "backup", tmp_path / "b", "--data-dir", instance.root)
    assert "already" in await asyncio.to_thread(refused, "restore", tmp_path / "b", "--data-dir", tmp_path / "r")
    await asyncio.to_thread(ok, "restore", tmp_path / "b", "--data-dir", tmp_path / "r", "--store", "sqlite")
    found = load(tmp_path / "r")
    assert found is not None
    assert values((await content(found))[1]) == values(before)
    other = etcd.fresh()
    tls = ("--store-ca", other.ca, "--store-cert", other.cert, "--store-key", other.key)
    await asyncio.to_thread(ok, "restore", tmp_path / "b", "--data-dir", tmp_path / "s", "--store", other, *tls)
    found = load(tmp_path / "s")
    assert found is not None
    assert values((await content(found))[1]) == values(before)


async def test_data_that_is_not_whole_is_not_served(etcd: EtcdCluster) -> None:
    address = etcd.fresh()
    unfinished = json.dumps({"format": 1, "offset": 0, "unfinished": "a restore"})
    await asyncio.to_thread(etcd.ctl, "put", f"{address.prefix}.store/meta", unfinished)
    with pytest.raises(Corrupted, match="a restore did not end"):
        await EtcdStore(address).start()
