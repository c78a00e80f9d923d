"""A right to one object by name is a right to that object only, in whatever way it is asked for."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from kumo.api.errors import StatusError
from kumo.api.resources import CONFIGMAPS, LEASES, ROLEBINDINGS, ROLES, SECRETS
from kumo.api.users import AUTHENTICATED_GROUP, UserInfo
from kumo.machinery.client import APPLY_PATCH
from kumo.machinery.http import Request, Response
from support.apiserver import RunningApiServer, running_apiserver

pytestmark = pytest.mark.component

_RBAC = "rbac.authorization.k8s.io"
_SECRETS = "/api/v1/namespaces/default/secrets"
ALICE = UserInfo("alice", (AUTHENTICATED_GROUP,))


async def _grant(server: RunningApiServer, rule: dict[str, Any]) -> None:
    await server.client.create(ROLES, {"metadata": {"name": "some"}, "rules": [rule]}, "default")
    binding = {
        "metadata": {"name": "some"},
        "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": "some"},
        "subjects": [{"kind": "User", "name": ALICE.name, "apiGroup": _RBAC}],
    }
    await server.client.create(ROLEBINDINGS, binding, "default")


async def _ask(server: RunningApiServer, path: str, query: str) -> tuple[int, bytes]:
    answer = await server.server.handle(Request("GET", path, query, {}, b"", ALICE))
    assert isinstance(answer, Response)
    if isinstance(answer.body, bytes):
        return answer.status, answer.body
    assert not isinstance(answer.body, list)
    stream = aiter(answer.body)  # type: ignore[arg-type]
    try:
        return answer.status, await anext(stream) + await asyncio.wait_for(anext(stream), 5)
    finally:
        await stream.aclose()  # type: ignore[attr-defined]


async def test_no_way_of_asking_shows_another_name(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as server:
        for name in ("mine", "other"):
            await server.client.create(SECRETS, {"metadata": {"name": name}}, "default")
        verbs = ["get", "list", "watch"]
        await _grant(server, {"apiGroups": [""], "resources": ["secrets"], "verbs": verbs, "resourceNames": ["mine"]})
        selected = "fieldSelector=metadata.name%3Dmine"
        for path, query, wanted in (
            (f"{_SECRETS}/mine", "", 200),
            (f"{_SECRETS}/mine", "watch=true", 200),
            (f"{_SECRETS}/mine", "watch", 200),
            ("/api/v1/watch/namespaces/default/secrets/mine", "", 200),
            (_SECRETS, selected, 200),
            (_SECRETS, f"{selected}&watch=1", 200),
            (_SECRETS, f"{selected}&fieldSelector=", 200),
            (_SECRETS, f"{selected}&fieldSelector=&watch=true", 200),
            (f"{_SECRETS}/other", "", 403),
            (f"{_SECRETS}/other", "watch=true", 403),
            (_SECRETS, "", 403),
            (_SECRETS, "watch", 403),
            (_SECRETS, f"fieldSelector=&{selected}", 403),
            (_SECRETS, "fieldSelector=metadata.namespace!%3Dx%5C,metadata.name%3Dmine", 403),
            (f"{_SECRETS}/mine", "watch=true&fieldSelector=metadata.name%3Dother", 200),  # a plain get of that one
        ):
            status, body = await _ask(server, path, query)
            assert status == wanted, (path, query, body)
            assert status != 200 or (b'"mine"' in body and b'"other"' not in body), (path, query, body)


async def test_a_write_that_creates_needs_the_right_to_create(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as server:
        rule = {"apiGroups": ["", "coordination.k8s.io"], "resources": ["*"], "verbs": ["get", "update", "patch"]}
        await _grant(server, rule)
        client = server.as_user(ALICE.name)
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "new"}}
        with pytest.raises(StatusError) as refusal:
            await client.patch(CONFIGMAPS, "new", body, "default", kind=APPLY_PATCH, field_manager="me")
        assert (refusal.value.code, "cannot create" in refusal.value.message) == (403, True)
        with pytest.raises(StatusError) as refusal:
            await client.update(LEASES, {"metadata": {"name": "new", "namespace": "default"}, "spec": {}})
        assert (refusal.value.code, "cannot create" in refusal.value.message) == (403, True)
