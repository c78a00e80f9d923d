"""Plain paths: version, health, metrics, discovery, OpenAPI, the keys that verify tokens, and the list of paths."""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Sequence

from kumo.api.errors import StatusError, method_not_allowed, no_such_path
from kumo.api.kubernetes_version import GIT_VERSION, VERSION
from kumo.api.objects import Object
from kumo.kubernetes.apiserver import measurements
from kumo.kubernetes.apiserver.aggregation.aggregator import Aggregator
from kumo.kubernetes.apiserver.discovery import Discovery
from kumo.kubernetes.apiserver.flowcontrol import dumps
from kumo.kubernetes.apiserver.health import KINDS, Health
from kumo.kubernetes.apiserver.openapi_paths import OpenApiPaths
from kumo.kubernetes.apiserver.operation import Operation
from kumo.kubernetes.apiserver.registry import BUILTIN_GROUPS, Registry
from kumo.kubernetes.apiserver.responses import text_response, value_response
from kumo.kubernetes.apiserver.status_pages import flagz, statusz
from kumo.kubernetes.apiserver.tokens import TokenEndpoints
from kumo.kubernetes.apiserver.virtual import virtual_types
from kumo.machinery.extension import ApiGroup
from kumo.machinery.http import Answer, Request, Response


class Paths:
    """Answers requests that name no resource."""

    def __init__(
        self,
        registry: Registry,
        groups: Sequence[ApiGroup],
        operation: Operation,
        tokens: TokenEndpoints,
        health: Health,
        aggregation: Aggregator,
    ) -> None:
        self._aggregation = aggregation
        self._registry = registry
        self._groups = groups
        self._operation = operation
        self._health = health
        self._began = time.time()
        self._tokens = tokens
        operation.metrics.add(lambda: measurements.build(version()))
        self._discovery: tuple[tuple[int, int], Discovery] | None = None
        self._openapi = OpenApiPaths(registry, aggregation)

    async def handle(self, request: Request) -> Answer:
        """The answer. Raises 404, 405."""
        if request.method not in ("GET", "HEAD"):
            raise method_not_allowed()
        path = request.path
        first = path.strip("/").split("/")[0]
        if path in ("/", "/index.html"):
            return value_response(request, {"paths": self._listed()})
        if path in ("/version", "/version/"):
            return Response(200, json.dumps(version(), indent=2).encode())
        if first in KINDS:
            only = path.strip("/").partition("/")[2]
            return await self._health.respond(request, first, only)
        if path == "/metrics":
            return await self._operation.metrics.response()
        if path == "/metrics/slis":
            return self._health.slis()
        if path == "/statusz":
            return statusz(VERSION, self._began, time.time())
        if path == "/flagz":
            return flagz(self._operation.flags)
        if path.startswith(dumps.PREFIX):
            return self._dump(request)
        if first in ("api", "apis"):
            return self._discovered(request)
        if first == "openapi" and path != "/openapi/v1/jwks":
            return await self._openapi.answer(request)
        if path == "/.well-known/openid-configuration":
            return value_response(request, self._tokens.openid_configuration())
        if path == "/openid/v1/jwks":
            answer = value_response(request, self._tokens.jwks())
            answer.content_type = "application/jwk-set+json"
            return answer
        return text_response("404 page not found\n", 404)

    def _discovered(self, request: Request) -> Response:
        """A discovery document. Raises 404 for what a built-in group has not; other groups that are not there are no
        path at all."""
        try:
            return self.discovery().respond(request)
        except StatusError as error:
            group = request.path.removeprefix("/apis/").partition("/")[0]
            if error.code != 404 or group in BUILTIN_GROUPS or request.path.startswith("/api/"):
                raise
            return text_response("404 page not found\n", 404)

    def _dump(self, request: Request) -> Response:
        """The tables of priority and fairness. Raises 404, also when it is off."""
        gate = self._operation.gate
        details = bool(request.query.get("includeRequestDetails"))
        found = dumps.dump(gate, request.path.removeprefix(dumps.PREFIX), details=details) if gate is not None else None
        if found is None:
            raise no_such_path()
        return text_response(found)

    def discovery(self) -> Discovery:
        """The documents for what is served now."""
        generation = (self._registry.generation, self._aggregation.generation)
        if self._discovery is None or self._discovery[0] != generation:
            types = [resource.type for resource in self._registry] + virtual_types()
            backends = self._aggregation.backends.values()
            self._discovery = (generation, Discovery(types, self._groups, backends))
        return self._discovery[1]

    def _listed(self) -> list[str]:
        found = {"/.well-known/openid-configuration", "/api", "/api/v1", "/apis", "/apis/", "/version", "/metrics"}
        found |= {"/metrics/slis", "/flagz", "/statusz"}
        found |= {"/openapi/v2", "/openapi/v3", "/openapi/v3/", "/openid/v1/jwks"}
        found |= {f"/{kind}" for kind in KINDS}
        for kind, checks in self._health.checks.items():
            found |= {f"/{kind}/{name}" for name in checks}
        for resource in self._registry:
            if resource.type.group:
                found |= {f"/apis/{resource.type.group}", f"/apis/{resource.gvk.api_version}"}
        for group in self._groups:
            found |= {f"/apis/{group.group}", *(f"/apis/{group.group}/{v}" for v in group.versions)}
        for name, v in self._aggregation.backends:
            found |= {f"/apis/{name}", f"/apis/{name}/{v}"}
        return sorted(found)


def version() -> Object:
    """What /version answers: the Kubernetes version whose API is served."""
    major, minor, _ = VERSION.split(".")
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return {
        "major": major,
        "minor": minor,
        "emulationMajor": major,
        "emulationMinor": minor,
        "minCompatibilityMajor": major,
        "minCompatibilityMinor": str(int(minor) - 1),
        "gitVersion": GIT_VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "",
        "goVersion": f"python{sys.version_info.major}.{sys.version_info.minor}",
        "compiler": platform.python_implementation().lower(),
        "platform": f"{sys.platform}/{machine}",
    }
