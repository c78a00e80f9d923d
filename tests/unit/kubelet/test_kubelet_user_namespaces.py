"""Ranges of user ids for pods of their own: no two alike, the same after a restart; who can't have one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kumo.api.objects import Object
from kumo.host.containerd.stubs import cri_pb2 as cri
from kumo.kubernetes.kubelet.user_namespaces import (
    LENGTH,
    UserNamespaces,
    decode,
    encode,
    map_container,
    map_sandbox,
)

pytestmark = pytest.mark.unit


def pod(uid: str, **spec: object) -> Object:
    return {"metadata": {"uid": uid}, "spec": {"hostUsers": False, **spec}}


def namespaces(root: Path, able: bool = True) -> UserNamespaces:
    async def supported(handler: str) -> bool:
        if handler == "unknown":
            raise OSError(f'the handler "{handler}" is not known')
        return able

    return UserNamespaces(root, supported)


async def test_each_pod_has_its_own_range_also_after_a_restart(tmp_path: Path) -> None:
    ours = namespaces(tmp_path)
    first, second = await ours.first_id(pod("a"), ""), await ours.first_id(pod("b"), "")
    assert first == LENGTH and second == 2 * LENGTH
    assert await ours.first_id(pod("a"), "") == ours.known(pod("a")) == first
    again = namespaces(tmp_path)
    assert await again.first_id(pod("c"), "") not in (first, second)
    assert await again.first_id(pod("b"), "") == second
    again.release("b")
    assert not (tmp_path / "b" / "userns").exists()
    found = json.loads((tmp_path / "a" / "userns").read_text())
    assert found["uidMappings"] == found["gidMappings"] == [{"hostId": first, "containerId": 0, "length": LENGTH}]


async def test_a_pod_with_the_machines_users_has_none(tmp_path: Path) -> None:
    ours = namespaces(tmp_path, able=False)
    for spec in ({"hostUsers": True}, {"hostUsers": None}):
        assert await ours.first_id(pod("a", **spec), "") is None
        assert ours.known(pod("a", **spec)) is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        ("", "can't set `spec.hostUsers: false`, runtime does not support user namespaces"),
        ("kata", 'can\'t set `spec.hostUsers: false`, RuntimeClass handler "kata" does not support user namespaces'),
        (
            "unknown",
            'can\'t set `spec.hostUsers: false`, RuntimeClass handler "unknown" does not support user namespaces: '
            'the handler "unknown" is not known',
        ),
    ],
)
async def test_where_the_runtime_can_not_map_ids_the_pod_is_refused(tmp_path: Path, handler: str, message: str) -> None:
    with pytest.raises(OSError) as refused:
        await namespaces(tmp_path, able=False).first_id(pod("a"), handler)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"{}",
        b'{"uidMappings":[],"gidMappings":[]}',
        encode(LENGTH).replace(b'"containerId":0', b'"containerId":1'),
        encode(LENGTH + 1),
        encode(0),
        encode(LENGTH).replace(b'"length":65536', b'"length":1'),
    ],
)
def test_a_file_of_somebody_else_is_not_believed(content: bytes) -> None:
    with pytest.raises(ValueError):
        decode(content)


def test_what_the_runtime_is_told() -> None:
    sandbox = map_sandbox(cri.PodSandboxConfig(), 3 * LENGTH)
    options = sandbox.linux.security_context.namespace_options.userns_options
    assert (options.mode, options.uids[0].host_id, options.gids[0].length) == (0, 3 * LENGTH, LENGTH)
    container = map_container(cri.ContainerConfig(mounts=[cri.Mount(host_path="/x")]), 3 * LENGTH)
    assert container.mounts[0].uidMappings[0].host_id == container.mounts[0].gidMappings[0].host_id == 3 * LENGTH
    plain = map_container(cri.ContainerConfig(mounts=[cri.Mount(host_path="/x")]), None)
    assert plain.linux.security_context.namespace_options.userns_options.mode == 2
    assert not plain.mounts[0].uidMappings
