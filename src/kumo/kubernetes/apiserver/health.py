"""`/healthz`, `/livez`, `/readyz`: named checks, in upstream's words."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kumo.kubernetes.apiserver.responses import text_response
from kumo.machinery.http import Request, Response

Check = Callable[[], str]
"""Empty when all is well, else what is wrong."""


def health(request: Request, kind: str, checks: Mapping[str, Check], only: str = "") -> Response:
    """The answer of the health path `kind` (healthz, livez, readyz), or of one check below it."""
    if only:
        if only not in checks:
            return text_response("404 page not found\n", 404)
        checks = {only: checks[only]}
    excluded = {v for k, v in request.query_list if k == "exclude"}
    lines, failed = [], []
    for name, check in checks.items():
        if name in excluded:
            lines.append(f"[+]{name} excluded: ok")
            continue
        wrong = check()
        if wrong:
            failed.append(name)
            lines.append(f"[-]{name} failed: reason withheld")
        else:
            lines.append(f"[+]{name} ok")
    if failed:
        return text_response("\n".join([*lines, f"{kind} check failed", ""]), 500)
    if "verbose" not in request.query:
        return text_response("ok")
    lines += [f"warn: some health checks cannot be excluded: no matches for {_listed(excluded - set(checks))}"] * bool(
        excluded - set(checks)
    )
    return text_response("\n".join([*lines, f"{kind} check passed", ""]))


def _listed(names: set[str]) -> str:
    return ", ".join(f'"{name}"' for name in sorted(names))
