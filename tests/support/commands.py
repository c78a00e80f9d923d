"""The real kubectl against a hollow cluster."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from support.hollow import HollowCluster


async def kubectl(cluster: HollowCluster, *words: str, given: dict[str, Any] | None = None) -> str:
    """What kubectl prints, with an object on its standard input if given. Fails the test when kubectl fails."""
    process = await asyncio.create_subprocess_exec(
        "kubectl",
        f"--kubeconfig={cluster.kubeconfig}",
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(30):
        output, _ = await process.communicate(json.dumps(given).encode() if given else b"")
    assert process.returncode == 0, output.decode()
    return output.decode()
