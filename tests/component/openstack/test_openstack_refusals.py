"""What the services say when they refuse, each in its own form, and that nothing makes them fall over."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import uuid
from typing import Any

import pytest

from kumo.api.resources import SECRETS
from kumo.openstack.common.names import SYSTEM_NAMESPACE, USERS
from kumo.openstack.keystone.tokens import Tokens
from support.openstack import PASSWORD, OpenStackCloud

pytestmark = pytest.mark.component
UNAUTHENTICATED = "The request you have made requires authentication."
REQUEST_ID = re.compile(r"req-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


async def test_nobody_without_a_token(cloud: OpenStackCloud) -> None:
    for path in ("/identity/v3/projects", "/compute/v2.1/servers", "/image/v2/images", "/compute/v2.1/nothing/here"):
        answer, body = await cloud.http("GET", path)
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == f'Keystone uri="{cloud.url}/identity/v3"'
        assert REQUEST_ID.fullmatch(answer.headers["x-openstack-request-id"])
        if path.startswith("/image"):
            assert answer.headers["content-type"].startswith("text/html")
            assert b"<h1>401 Unauthorized</h1>" in answer.body
        else:
            assert body == {"error": {"code": 401, "title": "Unauthorized", "message": UNAUTHENTICATED}}


async def test_version_documents_need_no_token_and_no_slash(cloud: OpenStackCloud) -> None:
    for path, status in (("/identity", 300), ("/identity/v3", 200), ("/compute", 200), ("/compute/v2.1", 200),
                         ("/image", 300), ("/image/versions", 200)):  # fmt: skip
        for slash in ("", "/"):
            answer, body = await cloud.http("GET", path + slash)
            assert answer.status == status, path
            assert f'"href":"{cloud.url}/' in answer.body.decode()
    sent = {"x_forwarded_proto": "https", "x_forwarded_host": "cloud.example.com"}
    answer, body = await cloud.http("GET", "/compute/v2.1/", **sent)
    assert body["version"]["links"][0]["href"] == "https://cloud.example.com/compute/v2.1/"


async def test_each_service_says_no_in_its_own_words(cloud: OpenStackCloud) -> None:
    token = await cloud.token()
    cases: tuple[tuple[str, str, Any, int, Any], ...] = (
        ("POST", "/identity/v3/projects", {"project": {}}, 400,
         {"error": {"code": 400, "title": "Bad Request", "message":
          "Invalid input for field/attribute project. Value: {}. 'name' is a required property"}}),
        ("GET", "/identity/v3/projects/nope", None, 404,
         {"error": {"code": 404, "message": "Could not find project: nope.", "title": "Not Found"}}),
        ("POST", "/compute/v2.1/servers", {"server": {}}, 400, {"badRequest": {"code": 400, "message":
         "Invalid input for field/attribute server. Value: {}. 'name' is a required property"}}),
        ("GET", "/compute/v2.1/servers/nope", None, 404,
         {"itemNotFound": {"code": 404, "message": "Instance nope could not be found."}}),
        ("POST", "/compute/v2.1/flavors", {"flavor": {"name": "m1.nano", "ram": 1, "vcpus": 1, "disk": 1, "id": "42"}},
         409, {"conflictingRequest": {"code": 409, "message": "Flavor with ID 42 already exists."}}),
    )  # fmt: skip
    for method, path, body, status, wanted in cases:
        answer, said = await cloud.http(method, path, body, token=token)
        assert (answer.status, said) == (status, wanted)
    answer, _ = await cloud.http("GET", "/image/v2/images/nope", token=token)
    assert answer.status == 404
    assert b"<h1>404 Not Found</h1>\n  No image found with ID nope<br /><br />" in answer.body
    answer, _ = await cloud.http("POST", "/image/v2/images", {"name": 1}, token=token)
    assert answer.status == 400
    assert b"schema &#x27;image&#x27;: 1 is not of type &#x27;null&#x27;, &#x27;string&#x27;" in answer.body


async def test_microversions(cloud: OpenStackCloud) -> None:
    token = await cloud.token()

    async def flavors(version: str) -> tuple[Any, Any]:
        headers = {"openstack_api_version": version} if version else {}
        return await cloud.http("GET", "/compute/v2.1/flavors/detail", token=token, **headers)

    for asked, used in (("", "2.1"), ("compute 2.61", "2.61"), ("compute latest", "2.96"), ("volume 3.0", "2.1")):
        answer, body = await flavors(asked)
        assert answer.headers["openstack-api-version"] == f"compute {used}"
        assert answer.headers["vary"] == "OpenStack-API-Version, X-OpenStack-Nova-API-Version"
        assert ("extra_specs" in body["flavors"][0]) == (used in ("2.61", "2.96"))
    answer, body = await flavors("compute 2.999")
    assert answer.status == 406
    message = "Version 2.999 is not supported by the API. Minimum is 2.1 and maximum is 2.96."
    assert body == {"computeFault": {"code": 406, "message": message}}
    answer, body = await flavors("compute two")
    assert (answer.status, list(body)) == (400, ["badRequest"])


async def test_tokens_that_prove_nothing(cloud: OpenStackCloud) -> None:
    token = await cloud.token()
    head, claims, signature = token.split(".")
    forged = [f"{head}.{claims}.{signature[:-4]}AAAA", f"{head}.{claims[:-2]}xx.{signature}", "x", "a.b.c", f"{head}..",
              f"eyJhbGciOiJub25lIiwia2lkIjoia3Vtby1pZGVudGl0eSJ9.{claims}."]  # fmt: skip
    secret = await cloud.client.get(SECRETS, "identity-token-key", SYSTEM_NAMESPACE)
    key = base64.b64decode(secret["data"]["key.pem"])
    user = (await cloud.client.list(USERS)).items[0]["metadata"]["name"]
    over, _ = Tokens(key, clock=lambda: 1_000_000_000.0).issue(user, ("password",))
    stranger, _ = Tokens(key).issue("nobody", ("password",))
    for text in (*forged, over, stranger):
        answer, _ = await cloud.http("GET", "/identity/v3/auth/catalog", token=text)
        assert answer.status == 401, text
    own = {"x_subject_token": over}
    assert (await cloud.http("GET", "/identity/v3/auth/tokens", token=token, **own))[0].status == 404


async def test_wrong_names_and_wrong_passwords_look_alike(cloud: OpenStackCloud) -> None:
    said = set()
    for name, password in (("admin", "wrong"), ("nobody", PASSWORD), ("../admin", PASSWORD), ("", "")):
        user = {"name": name, "domain": {"id": "default"}, "password": password}
        auth = {"identity": {"methods": ["password"], "password": {"user": user}}}
        answer, body = await cloud.http("POST", "/identity/v3/auth/tokens", {"auth": auth})
        said.add((answer.status, json.dumps(body)))
    assert len(said) == 1
    assert next(iter(said))[0] == 401


async def test_a_changed_password_ends_old_tokens(cloud: OpenStackCloud) -> None:
    token = await cloud.token()
    _, made = await cloud.http("POST", "/identity/v3/users", {"user": {"name": "u", "password": "one"}}, token=token)
    user = made["user"]["id"]
    old = await cloud.token("u", "one", "")
    change = {"user": {"original_password": "one", "password": "two"}}
    answer, _ = await cloud.http("POST", f"/identity/v3/users/{user}/password", change, token=old)
    assert answer.status == 204
    assert (await cloud.http("GET", "/identity/v3/auth/projects", token=old))[0].status == 401
    await cloud.token("u", "two", "")
    for name in ("system:admin", "openstack:x"):
        answer, _ = await cloud.http("POST", "/identity/v3/users", {"user": {"name": name}}, token=token)
        assert answer.status == 400


async def test_a_disk_that_points_elsewhere_is_not_taken(cloud: OpenStackCloud) -> None:
    token = await cloud.token()
    backed = b"QFI\xfb" + (3).to_bytes(4, "big") + (512).to_bytes(8, "big") + b"\x00" * 600
    for kind, content in (("qcow2", backed), ("raw", backed), ("qcow2", b"not one"), ("raw", b"KDMV" + b"\x00" * 600)):
        asked = {"name": "x", "disk_format": kind, "container_format": "bare"}
        _, image = await cloud.http("POST", "/image/v2/images", asked, token=token)
        path = f"/image/v2/images/{image['id']}"
        sent = {"content_type": "application/octet-stream"}
        answer, _ = await cloud.http("PUT", f"{path}/file", content, token=token, **sent)
        assert answer.status == 400
        assert (await cloud.http("GET", path, token=token))[1]["status"] == "queued"
    assert list((cloud.images_dir / "sha512").iterdir()) == []
    assert list((cloud.images_dir / "uploads").iterdir()) == []


async def test_pages(cloud: OpenStackCloud) -> None:
    token = await cloud.token()
    for index in range(5):
        await cloud.http("POST", "/image/v2/images", {"name": f"i{index}"}, token=token)
    path, seen = "/v2/images?limit=2&sort=name:asc", []
    while path:
        _, body = await cloud.http("GET", f"/image{path}", token=token)
        seen += [i["name"] for i in body["images"]]
        path = body.get("next", "")
    assert seen == [f"i{index}" for index in range(5)]
    path, ids = "/compute/v2.1/flavors?limit=3", []
    while path:
        _, body = await cloud.http("GET", path, token=token)
        ids += [f["id"] for f in body["flavors"]]
        path = next((link["href"].removeprefix(cloud.url) for link in body.get("flavors_links", ())), "")
    assert len(ids) == len(set(ids)) == 7
    for query in ("limit=x", "limit=-1", "marker=nope"):
        assert (await cloud.http("GET", f"/compute/v2.1/flavors?{query}", token=token))[0].status == 400
        assert (await cloud.http("GET", f"/image/v2/images?{query}", token=token))[0].status == 400


BODIES: tuple[bytes, ...] = (
    b"", b"{", b"null", b"[]", b"1", b'"x"', b"\xff\xfe", b"[" * 50_000, b'{"x":' * 20_000, b"x" * 500_000,
    *(json.dumps({key: value}).encode()
      for key in ("auth", "project", "user", "role", "server", "flavor", "keypair", "metadata", "extra_specs",
                  "os-start", "reboot", "os-getConsoleOutput", "lock", "member", "status")
      for value in (None, 1, "x", [], {}, {"name": None}, {"name": {"a": 1}}, {"name": "x" * 300}, {"identity": []})),
)  # fmt: skip


async def test_no_body_makes_a_service_fall_over(cloud: OpenStackCloud) -> None:
    """Every route with every odd body: what answers is a refusal (or, rarely, a success), in the service's own form."""
    token = await cloud.token()
    gate = asyncio.Semaphore(4)
    wrong: list[str] = []

    async def ask(prefix: str, method: str, pattern: str, body: bytes) -> None:
        path = prefix + re.sub(r"\{[^}]+\}", lambda _: str(uuid.uuid4()), pattern)
        async with gate:
            answer, said = await cloud.http(method, path, body, token=token, content_type="application/json")
        if answer.status >= 500 and answer.status != 501:
            wrong.append(f"{answer.status} {method} {path} {body[:80]!r} {answer.body[:200]!r}")
        elif answer.status >= 400:
            html = answer.headers["content-type"].startswith("text/html")
            if html != (prefix == "/image") or (not html and not isinstance(said, dict)):
                wrong.append(f"form: {method} {path} {body[:80]!r} {answer.body[:200]!r}")

    for prefix, service in cloud.services.items():
        for route in service.routes:
            bodies = BODIES if route.method in ("POST", "PUT", "PATCH") else BODIES[:4]
            await asyncio.gather(*(ask(prefix, route.method, route.pattern, body) for body in bodies))
    assert not wrong, "\n".join(wrong[:20])
