"""The object model as the real kubectl sees it: explain, strict validation, server-side tables."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from support.apiserver import RunningApiServer, running_apiserver

pytestmark = pytest.mark.component


async def kubectl(server: RunningApiServer, *words: str, stdin: str = "") -> tuple[int, str]:
    """Exit code and output, errors included."""
    process = await asyncio.create_subprocess_exec(
        "kubectl",
        "--kubeconfig",
        server.kubeconfig,
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(process.communicate(stdin.encode()), 60)
    return process.returncode or 0, out.decode()


async def test_explain_and_validation(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path, https=True) as server:
        code, out = await kubectl(server, "explain", "deployment.spec.strategy", "--recursive")
        assert code == 0, out
        assert "rollingUpdate\t<RollingUpdateDeployment>" in out
        assert "maxSurge\t<IntOrString>" in out
        code, out = await kubectl(server, "explain", "pod.spec.containers.image")
        assert code == 0 and "FIELD: image <string>" in out, out
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [], "foo": 1}}
        code, out = await kubectl(server, "create", "-f", "-", stdin=json.dumps(pod))
        assert code == 1
        assert 'Pod in version "v1" cannot be handled as a Pod: strict decoding error: unknown field "spec.foo"' in out
        pod["spec"] = {"containers": [{"name": "c"}]}
        code, out = await kubectl(server, "create", "-f", "-", stdin=json.dumps(pod))
        assert code == 1
        assert 'The Pod "p" is invalid: spec.containers[0].image: Required value' in out


async def test_server_side_apply(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path, https=True) as server:
        labels = {"app": "x"}
        container = {"name": "c", "image": "nginx:1", "ports": [{"containerPort": 80}]}
        deployment: dict[str, Any] = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "d"},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            },
        }
        apply = ("apply", "--server-side", "-f", "-")
        assert (await kubectl(server, *apply, stdin=json.dumps(deployment)))[0] == 0
        code, out = await kubectl(server, *apply, stdin=json.dumps(deployment))
        assert (code, out) == (0, "deployment.apps/d serverside-applied\n")
        code, out = await kubectl(server, "get", "deployment", "d", "-o", "jsonpath={.metadata.generation}")
        assert out == "1"
        assert (await kubectl(server, "scale", "deployment", "d", "--replicas=5"))[0] == 0
        code, out = await kubectl(server, *apply, stdin=json.dumps(deployment))
        assert code == 1, out
        assert 'Apply failed with 1 conflict: conflict with "kubectl" with subresource "scale" using apps/v1' in out
        assert ".spec.replicas" in out
        code, out = await kubectl(server, *apply, "--force-conflicts", stdin=json.dumps(deployment))
        assert code == 0, out
        code, out = await kubectl(server, "get", "deployment", "d", "-o", "jsonpath={.spec.replicas}")
        assert out == "2"
        del deployment["spec"]["replicas"]
        code, out = await kubectl(server, *apply, stdin=json.dumps(deployment))
        assert code == 0, out
        code, out = await kubectl(server, "get", "deployment", "d", "-o", "jsonpath={.spec.replicas}")
        assert out == "1"
