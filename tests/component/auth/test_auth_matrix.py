"""Every default role against every kind and verb, asked over HTTPS, and a sample of the requests themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kumo.api.errors import StatusError
from kumo.api.resources import CLUSTERROLEBINDINGS, SUBJECTACCESSREVIEWS
from support.apiserver import RunningApiServer, running_apiserver
from support.rbac_matrix import BOUND, RESOURCES, VERBS, Resource, read_table, review, subjects

pytestmark = pytest.mark.component

GOLDEN = Path(__file__).parents[2] / "golden" / "rbac_matrix.txt"
_RBAC = "rbac.authorization.k8s.io"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RunningApiServer]:
    async with running_apiserver(tmp_path, https=True) as running:
        for role in BOUND:
            binding = {
                "metadata": {"name": f"matrix-{role}"},
                "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": role},
                "subjects": [{"apiGroup": _RBAC, "kind": "User", "name": f"user-{role}"}],
            }
            await running.client.create(CLUSTERROLEBINDINGS, binding)
        yield running


async def test_the_matrix(server: RunningApiServer) -> None:
    expected = read_table(GOLDEN)
    assert set(expected) == set(subjects())
    client = server.https_client()
    gate = asyncio.Semaphore(16)
    wrong: list[str] = []

    async def cell(subject: str, user: str, groups: tuple[str, ...], verb: str, resource: Resource) -> None:
        async with gate:
            answer = await client.create(SUBJECTACCESSREVIEWS, review(user, groups, verb, resource))
        allowed = bool(answer["status"].get("allowed"))
        if allowed != (verb in expected[subject].get(str(resource), ())):
            wrong.append(f"{subject} {verb} {resource}: {'allowed' if allowed else 'refused'}")

    try:
        await asyncio.gather(
            *(
                cell(subject, user, groups, verb, resource)
                for subject, (user, groups) in subjects().items()
                for resource in RESOURCES
                for verb in VERBS
            )
        )
    finally:
        await client.transport.close()
    assert not wrong


@pytest.mark.parametrize("subject", ["view", "edit", "admin", "cluster-admin", "authenticated", "scheduler", "node"])
async def test_the_requests_themselves(server: RunningApiServer, subject: str) -> None:
    """GET of collections: 200 where the table says list, 403 elsewhere."""
    expected = read_table(GOLDEN)[subject]
    user, groups = subjects()[subject]
    client = server.as_user(user, *groups)
    for path, resource in (
        ("/api/v1/namespaces/somewhere/pods", "pods"),
        ("/api/v1/namespaces/somewhere/secrets", "secrets"),
        ("/api/v1/namespaces/somewhere/configmaps", "configmaps"),
        ("/api/v1/nodes", "nodes"),
        ("/apis/apps/v1/namespaces/somewhere/deployments", "deployments.apps"),
        (f"/apis/{_RBAC}/v1/namespaces/somewhere/roles", f"roles.{_RBAC}"),
        (f"/apis/{_RBAC}/v1/clusterroles", f"clusterroles.{_RBAC}"),
        ("/apis/storage.k8s.io/v1/storageclasses", "storageclasses.storage.k8s.io"),
    ):
        # Everybody who has proved himself has the rights of `authenticated` too: none of these.
        try:
            await client.request("GET", path)
            allowed = True
        except StatusError as error:
            assert error.code == 403, (path, error)
            allowed = False
        assert allowed == ("list" in expected.get(resource, ())), path
