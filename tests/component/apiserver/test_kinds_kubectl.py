"""The object model as the real kubectl sees it: explain, strict validation, server-side tables."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.support.apiserver import RunningApiServer, running_apiserver

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
