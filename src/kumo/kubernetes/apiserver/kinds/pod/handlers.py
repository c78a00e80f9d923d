"""Probes and life-cycle hooks."""

from __future__ import annotations

from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause

_PROBE = ("exec", "httpGet", "tcpSocket", "grpc")
_HOOK = ("exec", "httpGet", "tcpSocket", "sleep")
_NUMBERS = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")
_NOT_NEGATIVE = "must be greater than or equal to 0"


def validate_probes(path: str, container: dict[str, Any], grace: int | None, found: list[Cause]) -> None:
    """What is wrong with a container's three probes."""
    for key in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(key)
        if probe is not None:
            _probe(f"{path}.{key}", probe, grace, found)
            if key == "readinessProbe":
                seconds = probe.get("terminationGracePeriodSeconds")
                if seconds is not None:
                    here = f"{path}.{key}.terminationGracePeriodSeconds"
                    found.append(fields.invalid(here, seconds, "must not be set for readinessProbes"))
            elif (probe.get("successThreshold") or 0) != 1:
                value = probe.get("successThreshold") or 0
                found.append(fields.invalid(f"{path}.{key}.successThreshold", value, "must be 1"))


def _probe(path: str, probe: dict[str, Any], grace: int | None, found: list[Cause]) -> None:
    _handler(path, probe, _PROBE, grace, found)
    for key in _NUMBERS:
        if (probe.get(key) or 0) < 0:
            found.append(fields.invalid(f"{path}.{key}", probe[key], _NOT_NEGATIVE))
    seconds = probe.get("terminationGracePeriodSeconds")
    if seconds is not None and seconds <= 0:
        found.append(fields.invalid(f"{path}.terminationGracePeriodSeconds", seconds, "must be greater than 0"))


def validate_lifecycle(path: str, lifecycle: dict[str, Any], grace: int | None, found: list[Cause]) -> None:
    """What is wrong with a container's hooks (their stop signal is dropped: an alpha field)."""
    for key in ("postStart", "preStop"):
        hook = lifecycle.get(key)
        if hook is not None:
            _handler(f"{path}.{key}", hook, _HOOK, grace, found)


def _handler(path: str, holder: dict[str, Any], known: tuple[str, ...], grace: int | None, found: list[Cause]) -> None:
    kinds = [kind for kind in known if holder.get(kind) is not None]
    if not kinds:
        found.append(fields.required(path, "must specify a handler type"))
        return
    kind, action = kinds[0], holder[kinds[0]]
    below = f"{path}.{kind}"
    if kind == "exec":
        if not action.get("command"):
            found.append(fields.required(f"{below}.command"))
    elif kind == "httpGet":
        _http(below, action, found)
    elif kind == "sleep":
        seconds = action.get("seconds") or 0
        if grace is not None and not 0 <= seconds <= grace:
            detail = f"must be non-negative and less than terminationGracePeriodSeconds ({grace})"
            found.append(fields.invalid(below, seconds, detail))
    else:
        found += validate_port(f"{below}.port", action.get("port"))
    for extra in kinds[1:]:
        found.append(fields.forbidden(f"{path}.{extra}", "may not specify more than 1 handler type"))


def _http(path: str, action: dict[str, Any], found: list[Cause]) -> None:
    if not action.get("path"):
        found.append(fields.required(f"{path}.path"))
    found += validate_port(f"{path}.port", action.get("port"))
    scheme = action.get("scheme") or ""
    if scheme not in ("HTTP", "HTTPS"):
        found.append(fields.unsupported(f"{path}.scheme", scheme, ("HTTP", "HTTPS")))
    for header in action.get("httpHeaders") or ():
        name = header.get("name") or ""
        found += fields.each(f"{path}.httpHeaders", name, names.check_header_name(name))


def validate_port(path: str, port: Any) -> list[Cause]:
    """A port by number or by name."""
    if isinstance(port, str):
        return fields.each(path, port, names.check_port_name(port))
    number = port or 0
    return [] if 1 <= number <= 65535 else fields.each(path, number, names.check_port(number))
