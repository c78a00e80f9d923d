"""Lifecycle hooks (postStart, preStop): exec, httpGet, tcpSocket, sleep. Upstream: `pkg/kubelet/lifecycle`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from kumo.host.containerd.cri import RuntimeService
from kumo.host.containerd.rpc import EngineError
from kumo.kubernetes.kubelet import http_check
from kumo.kubernetes.kubelet.spec import Container


class HookFailed(Exception):
    """The hook did not succeed; the text says how."""


async def run_hook(
    runtime: RuntimeService, handler: Mapping[str, Any], container_id: str, container: Container, ips: Sequence[str]
) -> None:
    """Run a hook to its end. `ips` are the pod's. Raises HookFailed."""
    if "exec" in handler:
        command = handler["exec"].get("command") or []
        try:
            answer = await runtime.exec_sync(container_id, command, 0)
        except EngineError as error:
            raise HookFailed(error.wire) from error
        if answer.exit_code != 0:
            output = (answer.stdout + answer.stderr).decode(errors="replace")
            raise HookFailed(f"command '{' '.join(command)}' exited with {answer.exit_code}: {output}")
    elif "httpGet" in handler:
        request = http_check.from_action(handler["httpGet"], container, ips[0] if ips else "")
        try:
            status, _ = await http_check.fetch(request, timeout=60.0)
        except (OSError, TimeoutError, ValueError) as error:
            raise HookFailed(str(error)) from error
        if status >= 400:
            raise HookFailed(f"HTTP probe failed with statuscode: {status}")
    elif "sleep" in handler:
        await asyncio.sleep(float(handler["sleep"].get("seconds") or 0))
    elif "tcpSocket" in handler:
        host = handler["tcpSocket"].get("host") or (ips[0] if ips else "")
        port = http_check.resolve_port(handler["tcpSocket"]["port"], container)
        try:
            await http_check.tcp_connect(host, port, timeout=60.0)
        except (OSError, TimeoutError) as error:
            raise HookFailed(str(error)) from error
    else:
        raise HookFailed("invalid handler: neither exec, httpGet, tcpSocket nor sleep")
