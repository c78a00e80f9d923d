"""`/healthz`, `/livez`, `/readyz`: named checks, in upstream's names and words."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import structlog

from kumo.kubernetes.apiserver.responses import text_response
from kumo.machinery.exposition import CONTENT_TYPE, Sample, family
from kumo.machinery.http import Request, Response

Check = Callable[[], "str | Awaitable[str]"]
"""Empty when all is well, else what is wrong."""

KINDS = ("healthz", "livez", "readyz")
_TIMEOUT = 2.0
_STEPS = {
    "admission": ("start-apiserver-admission-initializer",),
    "cache": (
        "generic-apiserver-start-informers",
        "storage-object-count-tracker-hook",
        "start-apiextensions-informers",
        "start-kube-aggregator-informers",
        "storage-readiness",
    ),
    "flow control": (
        "priority-and-fairness-config-consumer",
        "priority-and-fairness-filter",
        "priority-and-fairness-config-producer",
    ),
    "definitions": ("start-apiextensions-controllers", "crd-informer-synced"),
    "namespaces": ("start-system-namespaces-controller",),
    "addresses": ("start-service-ip-repair-controllers", "start-kubernetes-service-cidr-controller"),
    "defaults": (
        "start-cluster-authentication-info-controller",
        "start-legacy-token-tracking-controller",
        "rbac/bootstrap-roles",
        "scheduling/bootstrap-system-priority-classes",
        "bootstrap-controller",
    ),
    "aggregation": (
        "apiservice-status-local-available-controller",
        "apiservice-status-remote-available-controller",
        "apiservice-registration-controller",
        "apiservice-wait-for-first-sync",
        "apiservice-discovery-controller",
        "kube-apiserver-autoregistration",
        "autoregister-completion",
        "apiservice-openapi-controller",
        "apiservice-openapiv3-controller",
    ),
}
"""The steps of the start, and the checks that upstream has for what each does; in upstream's names."""
_log = structlog.get_logger("kumo.apiserver.health")


class Health:
    """The checks of one server. `started` says what keeps it from having started; `stopping` whether it shuts down.

    `store` looks whether the store answers.
    """

    def __init__(self, started: Callable[[], str], stopping: Callable[[], bool], store: Check) -> None:
        def shutdown() -> str:
            return "process is shutting down" if stopping() else ""

        self._steps: set[str] = set()
        hooks: dict[str, Check] = {
            name if name == "autoregister-completion" else f"poststarthook/{name}": partial(self._check_step, step)
            for step, names in _STEPS.items()
            for name in names
        }
        alive: dict[str, Check] = {"ping": _well, "log": _well, "etcd": store}
        ready: dict[str, Check] = {**alive, "etcd-readiness": store, "informer-sync": started, **hooks}
        ready["shutdown"] = shutdown
        self.checks: dict[str, dict[str, Check]] = {
            "healthz": {**alive, **hooks},
            "livez": {**alive, **hooks},
            "readyz": ready,
        }
        self._last: dict[tuple[str, str], bool] = {}
        self._totals: dict[tuple[str, str, str], int] = {}

    def finish(self, *steps: str) -> None:
        """These steps of the start have been taken."""
        assert set(steps) <= set(_STEPS)
        self._steps.update(steps)

    def _check_step(self, step: str) -> str:
        return "" if step in self._steps else "not finished"

    def add(self, name: str, check: Check) -> None:
        """One more check, of all three paths."""
        for checks in self.checks.values():
            checks[name] = check

    async def respond(self, request: Request, kind: str, only: str) -> Response:
        """The answer of the health path `kind` (healthz, livez, readyz), or of one check below it."""
        checks = self.checks[kind]
        if only:
            if only not in checks:
                return text_response("404 page not found\n", 404)
            wrong = await self._ask(kind, only, checks[only])
            return text_response(f"internal server error: {wrong}\n", 500) if wrong else text_response("ok")
        excluded = {v for k, v in request.query_list if k == "exclude"}
        lines, failed = await self._look(kind, checks, excluded)
        unknown = excluded - set(checks)
        if unknown:
            listed = ",".join(f'"{name}"' for name in sorted(unknown))
            lines.append(f"warn: some health checks cannot be excluded: no matches for {listed}")
        if failed:
            _log.warning("a health check failed", path=kind, checks=failed)
            return text_response("\n".join([*lines, f"{kind} check failed", ""]), 500)
        if "verbose" not in request.query:
            return text_response("ok")
        return text_response("\n".join([*lines, f"{kind} check passed", ""]))

    async def _look(self, kind: str, checks: Mapping[str, Check], excluded: set[str]) -> tuple[list[str], list[str]]:
        lines, failed = [], []
        for name, check in checks.items():
            if name in excluded:
                lines.append(f"[+]{name} excluded: ok")
            elif await self._ask(kind, name, check):
                failed.append(name)
                lines.append(f"[-]{name} failed: reason withheld")
            else:
                lines.append(f"[+]{name} ok")
        return lines, failed

    async def _ask(self, kind: str, name: str, check: Check) -> str:
        try:
            found = check()
            if inspect.isawaitable(found):
                async with asyncio.timeout(_TIMEOUT):
                    found = await found
        except TimeoutError:
            found = f"no answer within {_TIMEOUT:g} seconds"
        except Exception as error:
            found = str(error) or type(error).__name__
        self._last[name, kind] = not found
        status = "error" if found else "success"
        self._totals[name, status, kind] = self._totals.get((name, status, kind), 0) + 1
        return found

    def slis(self) -> Response:
        """The answer of /metrics/slis: how the checks went."""
        last: list[Sample] = [(key, float(well)) for key, well in sorted(self._last.items())]
        totals: list[Sample] = [(key, float(n)) for key, n in sorted(self._totals.items())]
        lines = [
            *family(
                "gauge",
                "kubernetes_healthcheck",
                "[STABLE] This metric records the result of a single healthcheck.",
                ("name", "type"),
                last,
            ),
            *family(
                "counter",
                "kubernetes_healthchecks_total",
                "[STABLE] This metric records the results of all healthcheck.",
                ("name", "status", "type"),
                totals,
            ),
        ]
        return Response(200, ("\n".join(lines) + "\n").encode(), CONTENT_TYPE)


def _well() -> str:
    return ""
