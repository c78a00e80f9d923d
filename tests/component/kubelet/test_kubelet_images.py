"""Images pulled from a registry on the loopback, through a mirror, with and without credentials."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from kumo.api.resources import SECRETS
from kumo.machinery.http import Request, Response
from support.containerd import busybox_image
from support.kubelet import Node, running, running_node, status_of
from support.registry import PASSWORD, USER, Registry, running_registry

pytestmark = [pytest.mark.component, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def registry() -> AsyncIterator[Registry]:
    async with running_registry() as found:
        image = busybox_image(b"from the registry")
        found.push("team/tool", "1", image)
        found.push("private/tool", "1", image)
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> AsyncIterator[Node]:
    folder = tmp_path_factory.mktemp("node")
    async with running_node(folder, mirrors={"_default": registry.url}, pull_backoff_base=2.0) as found:
        yield found


async def test_an_image_is_pulled_through_the_mirror(node: Node, registry: Registry) -> None:
    await node.create("pulled", container={"image": "quay.test/team/tool:1"})
    pod = await node.until("pulled", running)
    assert status_of(pod)["image"] == "quay.test/team/tool:1"
    assert "quay.test/team/tool@sha256:" in status_of(pod)["imageID"]
    message = await node.until_event("pulled", "Started")
    texts = [text for _, reason, text in await node.events("pulled") if reason in ("Pulling", "Pulled")]
    assert texts[0] == 'Pulling image "quay.test/team/tool:1"'
    assert texts[1].startswith('Successfully pulled image "quay.test/team/tool:1" in ')
    assert message == "Container started"
    assert "/v2/team/tool/manifests/1" in registry.asked
    await node.remove("pulled")


async def test_an_image_that_is_not_there_backs_off_and_is_asked_for_again(node: Node, registry: Registry) -> None:
    await node.create("absent", container={"image": "quay.test/team/tool:2"})
    pod = await node.until("absent", lambda p: _reason(p) == "ErrImagePull")
    message = status_of(pod)["state"]["waiting"]["message"]
    assert message.startswith("rpc error: code = NotFound desc = failed to pull and unpack image")
    pod = await node.until("absent", lambda p: _reason(p) == "ImagePullBackOff")
    assert status_of(pod)["state"]["waiting"]["message"].startswith('Back-off pulling image "quay.test/team/tool:2"')
    registry.push("team/tool", "2", busybox_image(b"two"))
    await node.until("absent", running)
    await node.remove("absent")


async def test_who_mounts_an_image_that_is_not_there_waits_for_it(node: Node, registry: Registry) -> None:
    await node.create(
        "mounts",
        container={"volumeMounts": [{"name": "data", "mountPath": "/data"}]},
        volumes=[{"name": "data", "image": {"reference": "quay.test/team/data:1"}}],
    )
    pod = await node.until("mounts", lambda p: _reason(p) == "ErrImagePull")
    assert "quay.test/team/data:1" in status_of(pod)["state"]["waiting"]["message"]
    await node.until("mounts", lambda p: _reason(p) == "ImagePullBackOff")
    registry.push("team/data", "1", busybox_image(b"data"))
    await node.until("mounts", running)
    await node.remove("mounts")


def _reason(pod: dict[str, object]) -> object:
    return status_of(pod)["state"].get("waiting", {}).get("reason")


async def test_private_images_need_the_secret(node: Node) -> None:
    auth = {"auths": {"quay.test": {"username": USER, "password": PASSWORD}}}
    data = base64.b64encode(json.dumps(auth).encode()).decode()
    secret = {
        "metadata": {"name": "pull"},
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": data},
    }
    await node.api.client.create(SECRETS, secret, "default")
    await node.create("refused", container={"image": "quay.test/private/tool:1"})
    pod = await node.until("refused", lambda p: _reason(p) in ("ErrImagePull", "ImagePullBackOff"))
    assert "401" in status_of(pod)["state"]["waiting"]["message"]
    await node.create("allowed", container={"image": "quay.test/private/tool:1"}, imagePullSecrets=[{"name": "pull"}])
    await node.until("allowed", running)
    await node.remove("refused")
    await node.remove("allowed")


async def test_what_was_pulled_with_a_secret_is_not_for_pods_without_it(node: Node, registry: Registry) -> None:
    image = {"image": "quay.test/private/tool:1"}
    pull = [{"name": "pull"}]
    await node.stop()  # who may use it survives a restart
    await node.start()
    await node.create("never", container={**image, "imagePullPolicy": "Never"})
    await node.create("present", container={**image, "imagePullPolicy": "IfNotPresent"})
    await node.create("mine", container={**image, "imagePullPolicy": "Never"}, imagePullSecrets=pull)
    pod = await node.until("never", lambda p: _reason(p) == "ErrImageNeverPull")
    message = 'Container image "quay.test/private/tool:1" is not present with pull policy of Never'
    assert status_of(pod)["state"]["waiting"]["message"] == message
    pod = await node.until("present", lambda p: _reason(p) in ("ErrImagePull", "ImagePullBackOff"))
    assert "401" in status_of(pod)["state"]["waiting"]["message"]
    await node.until("mine", running)
    # Once it is imported by hand, it is everybody's.
    await node.containerd.engine.images.import_image(
        busybox_image(b"from the registry"), ["quay.test/private/tool:1"], imported=True
    )
    await node.until("never", running)
    page = await node.kubelet.handler(Request("GET", "/metrics"))
    assert isinstance(page, Response)
    text = page.body.decode()
    assert 'kubelet_imagemanager_image_mustpull_checks_total{result="mustAuthenticate"}' in text
    assert "kubelet_imagemanager_ondisk_pullintents 0" in text
    for name in ("never", "present", "mine"):
        await node.remove(name)


async def test_pull_reports_progress(node: Node, registry: Registry) -> None:
    seen: list[tuple[int, int]] = []
    registry.push("team/other", "1", busybox_image(b"other"))
    engine = node.containerd.engine
    found = await engine.images.pull_with_progress(
        "quay.test/team/other:1", lambda done, total: seen.append((done, total))
    )
    assert found.startswith("sha256:")
    assert all(done <= total for done, total in seen)


async def test_a_pull_takes_the_name_back_from_an_imported_image(node: Node, registry: Registry) -> None:
    name = "quay.test/team/taken:1"
    engine = node.containerd.engine
    await engine.images.import_image(busybox_image(b"by hand"), [name], imported=True)
    assert await engine.images.is_imported(name)
    for content in (b"by hand", b"from the registry"):
        registry.push("team/taken", "1", busybox_image(content))
        await engine.images.pull_with_progress(name, lambda done, total: None)
        assert not await engine.images.is_imported(name)
    assert "/v2/team/taken/manifests/1" in registry.asked
