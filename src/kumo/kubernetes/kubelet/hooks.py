"""Lifecycle hooks (postStart, preStop): exec, httpGet, tcpSocket, sleep. Upstream: `pkg/kubelet/lifecycle`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from kumo.api.objects import Object
from kumo.host.containerd.cri import RuntimeService
from kumo.host.containerd.rpc import EngineError
from kumo.kubernetes.kubelet import http_check
from kumo.kubernetes.kubelet.spec import Container, full_name

_PATIENCE = 60.0


class HookFailed(Exception):
    """The hook did not succeed; the text says how (for the container's status; never for an event)."""


async def run_hook(
    runtime: RuntimeService,
    handler: Mapping[str, Any],
    container_id: str,
    pod: Object,
    container: Container,
    ips: Sequence[str],
) -> None:
    """Run a hook to its end. `ips` are the pod's. Raises HookFailed."""
    where = f'for Container "{container["name"]}" in Pod "{full_name(pod)}" failed - error:'
    if "exec" in handler:
        command = handler["exec"].get("command") or []
        title = f"Exec lifecycle hook ([{' '.join(command)}])"
        try:
            answer = await runtime.exec_sync(container_id, command, 0)
        except EngineError as error:
            raise HookFailed(f'{title} {where} {error.wire}, message: ""') from error
        if answer.exit_code != 0:
            output = (answer.stdout + answer.stderr).decode(errors="replace")
            error_text = f"command '{' '.join(command)}' exited with {answer.exit_code}: {output}"
            raise HookFailed(f"{title} {where} {error_text}, message: {http_check.quoted(output)}")
    elif "httpGet" in handler:
        path = handler["httpGet"].get("path") or ""
        try:
            await _request(handler["httpGet"], container, ips[0] if ips else "")
        except (http_check.CheckFailed, ValueError) as error:
            raise HookFailed(f"HTTP lifecycle hook ({path}) {where} {error}") from error
    elif "sleep" in handler:
        await asyncio.sleep(float(handler["sleep"].get("seconds") or 0))
    else:
        raise HookFailed(f"Cannot run handler: invalid handler: {dict(handler)}")


async def _request(action: Mapping[str, Any], container: Container, ip: str) -> None:
    """Send the request; whatever the status of the answer, the hook has run. Raises CheckFailed, ValueError."""
    request = http_check.from_action(action, container, ip, http_check.AGENT.replace("probe", "lifecycle"))
    try:
        await http_check.fetch(request, timeout=_PATIENCE)
    except http_check.CheckFailed:
        if request.scheme != "https":
            raise
        # A server that speaks no TLS is asked without, and without the credentials.
        headers = tuple((n, v) for n, v in request.headers if n != "Authorization")
        await http_check.fetch(replace(request, scheme="http", headers=headers), timeout=_PATIENCE)
