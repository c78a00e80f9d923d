"""Validation of probes and life-cycle hooks."""

from __future__ import annotations

from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause

_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
_NUMBERS = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")


def validate_probe(path: str, probe: dict[str, Any], *, single_success: bool) -> list[Cause]:
    """A probe; `single_success`: one success must be enough (liveness and startup)."""
    found = _handler(path, probe)
    for key in _NUMBERS:
        if (probe.get(key) or 0) < 0:
            found.append(fields.invalid(f"{path}.{key}", probe[key], "must be greater than or equal to 0"))
    grace = probe.get("terminationGracePeriodSeconds")
    if grace is not None and grace <= 0:
        detail = "must be greater than 0"
        found.append(fields.invalid(f"{path}.terminationGracePeriodSeconds", grace, detail))
    if single_success and probe.get("successThreshold") not in (None, 1):
        found.append(fields.invalid(f"{path}.successThreshold", probe["successThreshold"], "must be 1"))
    return found


def validate_hook(path: str, hook: dict[str, Any]) -> list[Cause]:
    """A `postStart` or `preStop` hook."""
    return _handler(path, hook)


def _handler(path: str, holder: dict[str, Any]) -> list[Cause]:
    found: list[Cause] = []
    kinds = [k for k in _HANDLERS if holder.get(k) is not None]
    if not kinds:
        return [fields.required(path, "must specify a handler type")]
    for extra in kinds[1:]:
        found.append(fields.forbidden(f"{path}.{extra}", "may not specify more than 1 handler type"))
    kind, action = kinds[0], holder[kinds[0]]
    below = f"{path}.{kind}"
    if kind == "exec" and not action.get("command"):
        found.append(fields.required(f"{below}.command"))
    if kind == "httpGet":
        if not action.get("path"):
            found.append(fields.required(f"{below}.path"))
        if action.get("scheme") not in ("HTTP", "HTTPS"):
            found.append(fields.unsupported(f"{below}.scheme", action.get("scheme"), ("HTTP", "HTTPS")))
    if kind in ("httpGet", "tcpSocket", "grpc"):
        found += validate_port(f"{below}.port", action.get("port"))
    return found


def validate_port(path: str, port: Any) -> list[Cause]:
    """A port by number or by name."""
    if isinstance(port, str):
        return fields.each(path, port, names.check_port_name(port))
    number = port or 0
    return fields.each(path, number, names.check_port(number))
