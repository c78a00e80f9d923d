"""Control planes on one etcd take over what they must share, by the cluster's token."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kumo.cli import backup, operation, prepare, stores
from kumo.cli.instance import Instance, InstanceError, choose
from kumo.cli.joining import KEY, Joining
from kumo.store.base import KeyValue
from support.etcd import EtcdCluster

pytestmark = pytest.mark.component
OPTIONS: dict[str, Any] = dict.fromkeys(operation._KEYS)


def plane(path: Path, url: dict[str, str], port: int) -> Instance:
    """The instance of a control plane that has never been started."""
    return replace(choose(path, port=port, node_name=path.name), etcd=url)


def start(instance: Instance, token: Path | None = None, *, node: bool = False, **options: Any) -> Instance:
    """What `kumo up` does about secrets."""
    joining = Joining(instance, {"server_token": token})
    instance = joining.join(instance, node=node)
    operation.keep(instance.root, {**OPTIONS, "encrypt_secrets": False, **options})
    prepare.certificates(instance)
    joining.share(instance)
    return instance


@pytest.fixture
def url(etcd: EtcdCluster) -> dict[str, str]:
    """What an instance remembers of an empty etcd."""
    address = etcd.fresh()
    return {"url": str(address), "ca": str(address.ca), "cert": str(address.cert), "key": str(address.key)}


def content(instance: Instance, name: str) -> bytes:
    return (instance.root / name).read_bytes()


async def _stored(instance: Instance) -> KeyValue:
    store = stores.open_store(instance)
    await store.start()
    try:
        found = await store.get(KEY)
        assert found is not None
        return found
    finally:
        await store.stop()


def test_another_control_plane_joins_by_the_token(tmp_path: Path, url: dict[str, str]) -> None:
    first = start(plane(tmp_path / "one", url, 7001), encrypt_secrets=True)
    token = first.root / "server-token"
    assert token.stat().st_mode & 0o777 == 0o600 and len(token.read_text()) > 40
    stored = stores.run(_stored(first))
    assert content(first, "pki/ca.key") not in stored.value and b"PRIVATE" not in stored.value

    second = plane(tmp_path / "two", url, 7002)
    with pytest.raises(InstanceError, match=r"a control plane has begun on etcd://.* already"):
        start(second)
    wrong = tmp_path / "wrong"
    wrong.write_text("x" * 40)
    with pytest.raises(InstanceError, match="can't be opened: the token is not the cluster's"):
        start(second, wrong)
    wrong.write_text("short\n")
    with pytest.raises(InstanceError, match="holds no token"):
        start(second, wrong)
    with pytest.raises(InstanceError, match="runs no pods as yet: add --no-node"):
        start(second, token, node=True)
    assert not second.pki_dir.exists(), "nothing is half-made"

    joined = start(second, token)
    for name in ("pki/ca.crt", "pki/ca.key", "pki/sa.key", "pki/front-proxy-ca.key", "pki/encryption.yaml"):
        assert content(joined, name) == content(first, name)
    assert (joined.root / "pki/ca.key").stat().st_mode & 0o777 == 0o600
    assert (joined.service_cidr, joined.pod_cidr) == (first.service_cidr, first.pod_cidr)
    assert content(joined, "pki/apiserver.key") != content(first, "pki/apiserver.key")
    assert operation.operation(joined).encryption == joined.pki_dir / "encryption.yaml"
    assert content(joined, "clouds.yaml") == content(first, "clouds.yaml")
    assert stores.run(_stored(first)).mod_revision == stored.mod_revision, "nothing was new"
    assert start(joined) == joined, "from then on it needs no token"
    assert token in set(backup._files(first, images=False)), "a restored cloud can be joined as well"


def test_what_is_changed_on_one_comes_to_the_others(tmp_path: Path, url: dict[str, str]) -> None:
    first = start(plane(tmp_path / "one", url, 7001))
    second = start(plane(tmp_path / "two", url, 7002), first.root / "server-token")
    assert operation.operation(second).encryption is None
    start(first, encrypt_secrets=True)
    start(second)
    assert content(second, "pki/encryption.yaml") == content(first, "pki/encryption.yaml")
    start(second, encryption_provider_config="none")
    start(first)
    assert operation.operation(first).encryption is None
    (first.root / "authentication.yaml").write_text("one: 1\n")
    (second.root / "authentication.yaml").write_text("two: 2\n")
    start(first)
    with pytest.raises(InstanceError, match=r"changed both here and elsewhere.*shared.json"):
        start(second)
    (second.root / "shared.json").unlink()
    start(second)
    assert content(second, "authentication.yaml") == b"one: 1\n"


def test_a_store_of_another_cluster_is_refused(tmp_path: Path, url: dict[str, str], etcd: EtcdCluster) -> None:
    first = start(plane(tmp_path / "one", url, 7001))
    other = start(plane(tmp_path / "other", {**url, "url": str(etcd.fresh())}, 7003))
    with pytest.raises(InstanceError, match="holds another cluster"):
        start(replace(other, etcd=url))
    with pytest.raises(InstanceError, match="no control plane has begun on"):
        start(plane(tmp_path / "new", {**url, "url": str(etcd.fresh())}, 7004), first.root / "server-token")
    with pytest.raises(InstanceError, match="--server-token is for --store etcd://"):
        start(plane(tmp_path / "file", {}, 7005), first.root / "server-token")


def test_files_that_were_brought_by_hand_are_left_alone(tmp_path: Path, url: dict[str, str]) -> None:
    first = start(plane(tmp_path / "one", url, 7001))
    second = plane(tmp_path / "two", url, 7002)
    second.pki_dir.mkdir(parents=True)
    for name in ("ca.crt", "ca.key", "sa.key", "front-proxy-ca.crt", "front-proxy-ca.key"):
        (second.pki_dir / name).write_bytes(content(first, f"pki/{name}"))
    start(second)
    assert not (second.root / "server-token").exists()
    start(second, first.root / "server-token")
    assert content(second, "server-token").strip() == content(first, "server-token").strip()
