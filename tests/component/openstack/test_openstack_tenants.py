"""What one project sees of another: nothing, unless it is shared."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.api.resources import VMS
from kumo.openstack.nova.servers import notes
from support.openstack import OpenStackCloud

pytestmark = pytest.mark.component
FILE = {"content_type": "application/octet-stream"}
PATCH = {"content_type": "application/openstack-images-v2.1-json-patch"}


async def tenant(cloud: OpenStackCloud, admin: str, name: str, role: str, project: str) -> str:
    """A new user with a role in a project (made if missing); a token."""
    _, made = await cloud.http("POST", "/identity/v3/projects", {"project": {"name": project}}, token=admin)
    _, found = await cloud.http("GET", f"/identity/v3/projects?name={project}", token=admin)
    where = found["projects"][0]["id"]
    body = {"user": {"name": name, "password": "secret"}}
    _, made = await cloud.http("POST", "/identity/v3/users", body, token=admin)
    _, roles = await cloud.http("GET", f"/identity/v3/roles?name={role}", token=admin)
    path = f"/identity/v3/projects/{where}/users/{made['user']['id']}/roles/{roles['roles'][0]['id']}"
    answer, _ = await cloud.http("PUT", path, token=admin)
    assert answer.status == 204
    assert (await cloud.http("HEAD", path, token=admin))[0].status == 204
    return await cloud.token(name, "secret", project)


async def image(cloud: OpenStackCloud, token: str, **fields: Any) -> str:
    asked = {"name": "x", "disk_format": "raw", "container_format": "bare", **fields}
    answer, made = await cloud.http("POST", "/image/v2/images", asked, token=token)
    assert answer.status == 201
    answer, _ = await cloud.http("PUT", f"/image/v2/images/{made['id']}/file", b"disk" * 512, token=token, **FILE)
    assert answer.status == 204
    return str(made["id"])


def server(image_id: str, **fields: Any) -> dict[str, Any]:
    return {"server": {"name": "s", "imageRef": image_id, "flavorRef": "42", **fields}}


async def test_projects_are_apart(cloud: OpenStackCloud) -> None:
    admin = await cloud.token()
    one = await tenant(cloud, admin, "one", "member", "first")
    two = await tenant(cloud, admin, "two", "member", "second")
    looks = await tenant(cloud, admin, "looks", "reader", "first")
    picture = await image(cloud, one)
    answer, made = await cloud.http("POST", "/compute/v2.1/servers", server(picture), token=one)
    assert answer.status == 202
    machine = made["server"]["id"]
    assert answer.headers["location"] == f"{cloud.url}/compute/v2.1/servers/{machine}"

    async def status(method: str, path: str, token: str, body: Any = None, **headers: str) -> int:
        return (await cloud.http(method, path, body, token=token, **headers))[0].status

    stop, rename = {"os-stop": None}, {"server": {"name": "mine"}}
    for path, method, body in (
        (f"/compute/v2.1/servers/{machine}", "GET", None),
        (f"/compute/v2.1/servers/{machine}", "PUT", rename),
        (f"/compute/v2.1/servers/{machine}", "DELETE", None),
        (f"/compute/v2.1/servers/{machine}/action", "POST", stop),
        (f"/image/v2/images/{picture}", "GET", None),
        (f"/image/v2/images/{picture}/file", "GET", None),
        (f"/image/v2/images/{picture}", "DELETE", None),
    ):
        assert await status(method, path, two, body) == 404, path
    assert await status("POST", "/compute/v2.1/servers", two, server(picture)) == 400
    for everywhere in ("/compute/v2.1/servers?all_tenants=1", "/compute/v2.1/os-hypervisors", "/identity/v3/users"):
        assert await status("GET", everywhere, two) == 403
        assert await status("GET", everywhere, admin) == 200
    assert (await cloud.http("GET", "/compute/v2.1/servers", token=two))[1]["servers"] == []
    # Who reads may look and not touch.
    assert await status("GET", f"/compute/v2.1/servers/{machine}", looks) == 200
    for path, method, body in (
        (f"/compute/v2.1/servers/{machine}", "DELETE", None),
        (f"/compute/v2.1/servers/{machine}/action", "POST", stop),
        ("/compute/v2.1/servers", "POST", server(picture)),
        ("/image/v2/images", "POST", {"name": "x"}),
        (f"/image/v2/images/{picture}", "DELETE", None),
    ):
        assert await status(method, path, looks, body) == 403, path
    assert await status("DELETE", f"/compute/v2.1/servers/{machine}", one) == 204


async def test_sharing_an_image(cloud: OpenStackCloud) -> None:
    admin = await cloud.token()
    one = await tenant(cloud, admin, "one", "member", "first")
    two = await tenant(cloud, admin, "two", "member", "second")
    picture = await image(cloud, one)
    path = f"/image/v2/images/{picture}"
    public = [{"op": "replace", "path": "/visibility", "value": "public"}]
    assert (await cloud.http("PATCH", path, public, token=one, **PATCH))[0].status == 403
    _, who = await cloud.http("GET", "/identity/v3/auth/projects", token=two)
    project = who["projects"][0]["id"]

    async def listed() -> list[str]:
        return [i["id"] for i in (await cloud.http("GET", "/image/v2/images", token=two))[1]["images"]]

    answer, member = await cloud.http("POST", f"{path}/members", {"member": project}, token=one)
    assert (answer.status, member["status"]) == (200, "pending")
    assert (await cloud.http("GET", path, token=two))[0].status == 200
    assert await listed() == []
    accept = {"status": "accepted"}
    assert (await cloud.http("PUT", f"{path}/members/{project}", accept, token=one))[0].status == 403
    assert (await cloud.http("PUT", f"{path}/members/{project}", accept, token=two))[0].status == 200
    assert await listed() == [picture]
    assert (await cloud.http("DELETE", path, token=two))[0].status == 403
    assert (await cloud.http("DELETE", f"{path}/members/{project}", token=one))[0].status == 204
    assert (await cloud.http("GET", path, token=two))[0].status == 404
    assert (await cloud.http("PATCH", path, public, token=admin, **PATCH))[0].status == 200
    assert await listed() == [picture]
    answer, _ = await cloud.http("GET", f"{path}/file", token=two, range="bytes=4-9")
    assert (answer.status, answer.body, answer.headers["content-range"]) == (206, b"diskdi", "bytes 4-9/2048")
    assert (await cloud.http("GET", f"{path}/file", token=two, range="bytes=9999-"))[0].status == 416


async def test_what_kubectl_writes_does_not_break_lists(cloud: OpenStackCloud) -> None:
    admin = await cloud.token()
    picture = await image(cloud, admin)
    for _ in range(2):
        assert (await cloud.http("POST", "/compute/v2.1/servers", server(picture), token=admin))[0].status == 202
    vm = (await cloud.client.list(VMS)).items[0]
    odd = {notes.FLAVOR: '{"ram": "much", "id": 1}', notes.ACTIONS: '[1, {"action": 2}]', notes.METADATA: "{",
           "openstack.kumo.dev/tags": '[{"a": 1}]', notes.LAUNCH_INDEX: "x"}  # fmt: skip
    where = (vm["metadata"]["name"], {"metadata": {"annotations": odd}}, vm["metadata"]["namespace"])
    await cloud.client.patch(VMS, *where)
    for path in (
        "/servers/detail",
        f"/servers/{vm['metadata']['uid']}",
        f"/servers/{vm['metadata']['uid']}/os-instance-actions",
    ):
        for version in ("2.1", "2.96"):
            sent = {"openstack_api_version": f"compute {version}"}
            answer, _ = await cloud.http("GET", f"/compute/v2.1{path}", token=admin, **sent)
            assert answer.status == 200


async def test_a_lock_holds(cloud: OpenStackCloud) -> None:
    admin = await cloud.token()
    one = await tenant(cloud, admin, "one", "member", "first")
    _, made = await cloud.http("POST", "/compute/v2.1/servers", server(await image(cloud, one)), token=one)
    path = f"/compute/v2.1/servers/{made['server']['id']}"
    assert (await cloud.http("POST", f"{path}/action", {"lock": None}, token=one))[0].status == 202
    answer, body = await cloud.http("DELETE", path, token=one)
    assert answer.status == 409
    assert body["conflictingRequest"]["message"] == f"Instance {made['server']['id']} is locked"
    assert (await cloud.http("POST", f"{path}/action", {"unlock": None}, token=one))[0].status == 202
    assert (await cloud.http("POST", f"{path}/action", {"resize": {"flavorRef": "1"}}, token=one))[0].status == 501
    assert (await cloud.http("POST", f"{path}/action", {"dance": None}, token=one))[0].status == 400
    assert (await cloud.http("DELETE", path, token=one))[0].status == 204


async def test_tags(cloud: OpenStackCloud) -> None:
    admin = await cloud.token()
    _, made = await cloud.http("POST", "/compute/v2.1/servers", server(await image(cloud, admin)), token=admin)
    path = f"/compute/v2.1/servers/{made['server']['id']}/tags"

    async def ask(method: str, tail: str = "", body: Any = None, version: str = "2.26") -> tuple[int, Any]:
        sent = {"openstack_api_version": f"compute {version}"}
        answer, said = await cloud.http(method, path + tail, body, token=admin, **sent)
        return answer.status, said

    assert await ask("PUT", "/blue") == (201, None)
    assert await ask("PUT", "/blue") == (204, None)
    assert await ask("PUT", "", {"tags": ["a", "b", "a"]}) == (200, {"tags": ["a", "b"]})
    assert (await ask("GET", "/a"))[0] == 204
    assert (await ask("DELETE", "/a"))[0] == 204
    assert (await ask("DELETE", "/a"))[0] == 404
    assert (await ask("PUT", "", {"tags": ["x" * 61]}))[0] == 400
    assert (await ask("GET", version="2.25"))[0] == 404
    sent = {"openstack_api_version": "compute 2.26"}
    for query, count in (("tags=b", 1), ("tags=a", 0), ("tags-any=a,b", 1), ("not-tags=b", 0)):
        _, found = await cloud.http("GET", f"/compute/v2.1/servers?{query}", token=admin, **sent)
        assert len(found["servers"]) == count, query
