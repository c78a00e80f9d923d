"""The unmodified `openstack` client over HTTPS."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import resource
import ssl
from pathlib import Path
from typing import Any

import pytest

from kumo.api.errors import StatusError
from kumo.api.resources import CRDS, NAMESPACES, NODES, ROLEBINDINGS, SECRETS, VMS
from kumo.machinery.client import Client
from kumo.machinery.transport import HttpTransport
from kumo.openstack.common.names import IMAGES, SYSTEM_NAMESPACE, display_name
from support.openstack import OpenStackCloud

pytestmark = pytest.mark.component


def as_user(cloud: OpenStackCloud, name: str, password: str, project: str) -> dict[str, str]:
    """The environment in which the client is somebody else."""
    return {
        "OS_CLOUD": "",
        "OS_CLIENT_CONFIG_FILE": os.devnull,
        "OS_AUTH_URL": f"{cloud.url}/identity/v3",
        "OS_CACERT": str(cloud.ca),
        "OS_USERNAME": name,
        "OS_PASSWORD": password,
        "OS_PROJECT_NAME": project,
        "OS_USER_DOMAIN_ID": "default",
        "OS_PROJECT_DOMAIN_ID": "default",
        "OS_IDENTITY_API_VERSION": "3",
    }


async def upload(cloud: OpenStackCloud, name: str, content: bytes, *options: str) -> dict[str, Any]:
    file = cloud.directory / f"{name}.raw"
    file.write_bytes(content)
    found: dict[str, Any] = await cloud.json(
        "image", "create", name, "--disk-format", "raw", "--container-format", "bare", "--file", str(file), *options
    )
    return found


async def test_a_token_and_what_it_opens(cloud: OpenStackCloud) -> None:
    token = await cloud.json("token", "issue")
    assert set(token) == {"expires", "id", "project_id", "user_id"}
    services = {row["Type"]: row["Name"] for row in await cloud.json("catalog", "list")}
    assert services == {"identity": "keystone", "compute": "nova", "image": "glance"}
    versions = {row["Service Type"]: row for row in await cloud.json("versions", "show")}
    assert versions["compute"]["Max Microversion"] == "2.96"
    # The same token at the Kubernetes API of the same port.
    kube = Client(HttpTransport(cloud.url, ca=cloud.ca, token=token["id"]))
    try:
        assert [n["metadata"]["name"] for n in (await kube.list(NODES)).items] == ["node01"]
    finally:
        await kube.transport.close()
    await cloud.ok("token", "revoke", token["id"])
    answer, body = await cloud.http("GET", "/compute/v2.1/servers", token=token["id"])
    assert answer.status == 401
    assert body["error"]["message"] == "The request you have made requires authentication."
    code, _, err = await cloud.cli("token", "issue", env=as_user(cloud, "admin", "not it", "admin"))
    assert code == 1
    assert "The request you have made requires authentication. (HTTP 401)" in err


async def test_projects_users_and_roles(cloud: OpenStackCloud) -> None:
    project = await cloud.json("project", "create", "wp", "--description", "d")
    assert (project["description"], project["enabled"], project["domain_id"]) == ("d", True, "default")
    code, _, err = await cloud.cli("project", "create", "wp")
    assert code == 1
    assert "Conflict occurred attempting to store project" in err
    user = await cloud.json("user", "create", "wu", "--password", "secret of wu", "--project", "wp")
    await cloud.ok("role", "add", "--user", "wu", "--project", "wp", "member")
    assignments = await cloud.json("role", "assignment", "list", "--user", "wu", "--names")
    assert [(a["Role"], a["User"], a["Project"]) for a in assignments] == [("member", "wu@Default", "wp@Default")]
    member = as_user(cloud, "wu", "secret of wu", "wp")
    assert (await cloud.json("token", "issue", env=member))["project_id"] == project["id"]
    assert [p["Name"] for p in await cloud.json("project", "list", "--my-projects", env=member)] == ["wp"]
    code, _, err = await cloud.cli("user", "list", env=member)
    assert code == 1
    assert "You are not authorized to perform the requested action: identity:list_users." in err
    code, _, err = await cloud.cli("token", "issue", env=as_user(cloud, "wu", "secret of wu", "admin"))
    assert code == 1, "no role there"
    # Kubernetes sees the same user, with the same rights.
    token = await cloud.token("wu", "secret of wu", "wp")
    namespace = next(
        n["metadata"]["name"]
        for n in (await cloud.client.request("GET", "/api/v1/namespaces"))["items"]
        if n["metadata"]["uid"].replace("-", "") == project["id"]
    )
    kube = Client(HttpTransport(cloud.url, ca=cloud.ca, token=token))
    try:
        assert (await kube.list(SECRETS, namespace)).items is not None
        for gvr, where in ((SECRETS, SYSTEM_NAMESPACE), (SECRETS, "default"), (CRDS, "")):
            with pytest.raises(StatusError) as refused:
                await kube.list(gvr, where)
            assert refused.value.code == 403
        await cloud.ok("role", "remove", "--user", "wu", "--project", "wp", "member")
        with pytest.raises(StatusError) as refused:
            await kube.list(SECRETS, namespace)
        assert refused.value.code == 401, "a token whose scope gives no role any more proves nothing"
    finally:
        await kube.transport.close()
    await cloud.ok("user", "delete", user["id"])
    await cloud.ok("project", "delete", "wp")
    assert "wp" not in [p["Name"] for p in await cloud.json("project", "list")]


async def test_nobody_becomes_an_administrator_through_a_namespace(cloud: OpenStackCloud) -> None:
    """Who manages a project may not bind the role admin there, which would make him the cloud's administrator."""
    await cloud.ok("project", "create", "wp")
    await cloud.ok("user", "create", "wu", "--password", "secret of wu")
    await cloud.ok("role", "add", "--user", "wu", "--project", "wp", "manager")
    kube = Client(HttpTransport(cloud.url, ca=cloud.ca, token=await cloud.token("wu", "secret of wu", "wp")))
    (space,) = [n for n in (await cloud.client.list(NAMESPACES)).items if display_name(n) == "wp"]
    sent = {"content-type": "application/json"}
    subject = [{"kind": "User", "name": "wu", "apiGroup": "rbac.authorization.k8s.io"}]
    try:
        for role, code in (("edit", 201), ("openstack:admin", 403)):
            reference = {"kind": "ClusterRole", "name": role, "apiGroup": "rbac.authorization.k8s.io"}
            binding = {"metadata": {"generateName": "mine-"}, "roleRef": reference, "subjects": subject}
            path = ROLEBINDINGS.path(space["metadata"]["name"])
            made = await kube.transport.request("POST", path, headers=sent, body=json.dumps(binding).encode())
            assert made.status == code, made.body
    finally:
        await kube.transport.close()


async def test_an_image_goes_in_and_comes_out_whole(cloud: OpenStackCloud, tmp_path: Path) -> None:
    content = os.urandom(100 << 20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    image = await upload(cloud, "big", content, "--property", "os_distro=debian", "--tag", "t1", "--min-disk", "1")
    assert (image["status"], image["size"], image["min_disk"]) == ("active", len(content), 1)
    assert image["checksum"] == hashlib.md5(content, usedforsecurity=False).hexdigest()
    assert image["properties"]["os_distro"] == "debian"
    digest = hashlib.sha512(content).hexdigest()
    assert image["properties"]["os_hash_value"] == digest
    blob = cloud.images_dir / "sha512" / digest
    assert blob.stat().st_size == len(content)
    out = tmp_path / "saved"
    await cloud.ok("image", "save", "big", "--file", str(out))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 48 << 10, f"{grown} KiB more memory for 100 MiB up and down"
    assert hashlib.sha512(out.read_bytes()).hexdigest() == digest
    await cloud.ok("image", "set", "big", "--name", "large", "--property", "a=b")
    shown = await cloud.json("image", "show", "large")
    assert (shown["id"], shown["properties"]["a"], shown["tags"]) == (image["id"], "b", ["t1"])
    assert [i["Name"] for i in await cloud.json("image", "list")] == ["large"]
    twin = await upload(cloud, "twin", content)
    await cloud.ok("image", "delete", "large")
    assert blob.exists(), "the other image has the same content"
    await cloud.ok("image", "delete", twin["id"])
    assert not blob.exists()
    assert list((cloud.images_dir / "uploads").iterdir()) == []


async def test_half_an_upload_leaves_nothing(cloud: OpenStackCloud) -> None:
    token = await cloud.token()
    _, image = await cloud.http(
        "POST", "/image/v2/images", {"name": "x", "disk_format": "raw", "container_format": "bare"}, token=token
    )
    host, port = cloud.url.removeprefix("https://").split(":")
    context = ssl.create_default_context(cafile=str(cloud.ca))
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    head = f"PUT /image/v2/images/{image['id']}/file HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {token}\r\n"
    writer.write(f"{head}Content-Type: application/octet-stream\r\nContent-Length: 9000000\r\n\r\n".encode())
    writer.write(b"x" * 3_000_000)
    await writer.drain()

    async def state() -> str:
        return str((await cloud.http("GET", f"/image/v2/images/{image['id']}", token=token))[1]["status"])

    async def saving() -> bool:
        return await state() == "saving"

    async def queued() -> bool:
        return await state() == "queued" and not list((cloud.images_dir / "uploads").iterdir())

    await cloud.until("the upload runs", saving)
    writer.transport.abort()
    await cloud.until("the image waits again", queued)
    sent = {"content_type": "application/octet-stream"}
    answer, _ = await cloud.http("PUT", f"/image/v2/images/{image['id']}/file", b"whole", token=token, **sent)
    assert answer.status == 204
    assert await state() == "active"


async def test_key_pairs(cloud: OpenStackCloud) -> None:
    private = await cloud.ok("keypair", "create", "made")
    assert private.startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    public = cloud.directory / "id.pub"
    public.write_text("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIvSu8ynvUvUMv2Py/yPvpC9iMqhVcDAKSJCVw6Uo0aA me\n")
    await cloud.ok("keypair", "create", "brought", "--public-key", str(public))
    found = {k["Name"]: k for k in await cloud.json("keypair", "list")}
    assert set(found) == {"made", "brought"}
    assert found["brought"]["Type"] == "ssh"
    code, _, err = await cloud.cli("keypair", "create", "made")
    assert code == 1
    assert "Key pair 'made' already exists." in err
    await cloud.ok("keypair", "delete", "made", "brought")
    assert await cloud.json("keypair", "list") == []


async def test_a_server_is_a_virtual_machine(cloud: OpenStackCloud) -> None:
    env = {"OS_PROJECT_NAME": "default"}
    await upload(cloud, "disk", b"\x00" * 4096, "--public")
    await cloud.ok("keypair", "create", "k")
    data = cloud.directory / "user-data"
    data.write_text("#!/bin/sh\n" + "echo hello\n" * 400)
    made = await cloud.json(
        "server", "create", "my web", "--image", "disk", "--flavor", "m1.tiny", "--key-name", "k",
        "--user-data", str(data), "--property", "a=b", env=env,
    )  # fmt: skip
    assert (made["status"], made["name"], made["flavor"]["original_name"]) == ("BUILD", "my web", "m1.tiny")
    (vm,) = (await cloud.client.list(VMS, "default")).items
    name = vm["metadata"]["name"]
    assert name.startswith("my-web-")
    assert vm["metadata"]["uid"] == made["id"]
    (reference,) = cloud.disks.held
    assert vm["spec"]["template"]["spec"]["volumes"][0]["containerDisk"]["image"] == reference
    for suffix in ("user-data", "key"):
        secret = await cloud.client.get(SECRETS, f"{name}-{suffix}", "default")
        assert secret["metadata"]["ownerReferences"][0]["uid"] == made["id"]
    await cloud.kubevirt.start_fully(name)
    shown = await cloud.json("server", "show", "my web", env=env)
    assert (shown["status"], shown["addresses"]) == ("ACTIVE", {"pod": ["10.244.0.7"]})
    assert (shown["key_name"], shown["properties"]) == ("k", {"a": "b"})
    code, _, err = await cloud.cli("server", "start", "my web", env=env)
    assert code == 1
    assert f"Cannot 'start' instance {made['id']} while it is in vm_state active" in err
    # Made with kubectl, seen here.
    await cloud.kubevirt.create_vm("bare", runStrategy="Halted")
    rows = {r["Name"]: r for r in await cloud.json("server", "list", "--all-projects")}
    assert rows["bare"]["Status"] == "SHUTOFF"
    assert rows["my web"]["Flavor"] == "m1.tiny"
    assert [r["Name"] for r in await cloud.json("server", "list")] == [], "another project"
    await cloud.ok("server", "set", "my web", "--name", "renamed", "--property", "c=d", env=env)
    assert (await cloud.json("server", "show", "renamed", env=env))["properties"] == {"a": "b", "c": "d"}
    await cloud.ok("image", "delete", "disk")
    assert cloud.disks.held, "a machine still needs it"
    await cloud.ok("server", "delete", "renamed", env=env)
    assert not cloud.disks.held


async def test_what_does_not_fit_is_refused(cloud: OpenStackCloud) -> None:
    await upload(cloud, "hungry", b"\x00" * 4096, "--min-ram", "1000")
    await upload(cloud, "wide", b"\x00" * 4096, "--min-disk", "5")
    cases = (
        (("--image", "hungry", "--flavor", "m1.tiny"), "Flavor's memory is too small for requested image."),
        (("--image", "wide", "--flavor", "m1.tiny"), "Flavor's disk is smaller than the minimum size"),
        (("--image", "nope", "--flavor", "m1.tiny"), "No Image found for nope"),
        (("--image", "wide", "--flavor", "nope"), "No Flavor found for nope"),
        (("--image", "hungry", "--flavor", "m1.small", "--key-name", "nope"), "Invalid key_name provided."),
    )
    for options, message in cases:
        code, _, err = await cloud.cli("server", "create", "x", *options)
        assert code == 1, options
        assert message in err, err
    assert (await cloud.client.list(VMS)).items == []
    assert (await cloud.client.list(IMAGES)).items != []
