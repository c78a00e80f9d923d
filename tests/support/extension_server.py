"""An aggregated API server as others write them: `metrics.k8s.io/v1beta1` on a socket of its own, in its own process.

It knows callers by the front proxy's headers, as the config map `extension-apiserver-authentication` says, or asks the
API server (TokenReview), and asks it what they may do (SubjectAccessReview). It needs a kubeconfig for that.

    python -m support.extension_server KUBECONFIG CERT KEY ADDRESS
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import tempfile
from pathlib import Path
from typing import Any

from kumo.api.errors import StatusError, forbidden, unauthorized
from kumo.api.objects import Object, timestamp
from kumo.api.resources import CONFIGMAPS, GVR, NODES
from kumo.api.users import UserInfo
from kumo.machinery import kubeconfig
from kumo.machinery.client import Client
from kumo.machinery.http import Answer, Request, Response
from kumo.machinery.listener import Listener

GROUP, VERSION = "metrics.k8s.io", "v1beta1"
ROOT = f"/apis/{GROUP}/{VERSION}"
REVIEWS = GVR("authentication.k8s.io", "v1", "tokenreviews", False)
ACCESS = GVR("authorization.k8s.io", "v1", "subjectaccessreviews", False)
RESOURCES = [
    {"name": "nodes", "singularName": "", "namespaced": False, "kind": "NodeMetrics", "verbs": ["get", "list"]},
]
GVK = [{"group": GROUP, "version": VERSION, "kind": "NodeMetrics"}]
SCHEMA = {
    "description": "NodeMetrics sets resource usage metrics of a node.",
    "type": "object",
    "properties": {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "window": {"type": "string", "description": "Window is the time that the usage was measured over."},
    },
    "x-kubernetes-group-version-kind": GVK,
}
OPERATION = {
    "responses": {"200": {"description": "OK"}},
    "x-kubernetes-action": "list",
    "x-kubernetes-group-version-kind": GVK[0],
}
OPENAPI: Object = {
    "openapi": "3.0.0",
    "info": {"title": "metrics", "version": "v1"},
    "paths": {f"{ROOT}/nodes": {"get": OPERATION}},
    "components": {"schemas": {"io.example.metrics.NodeMetrics": SCHEMA}},
}


class Extension:
    """The server. `log` has a line for each request."""

    def __init__(self, client: Client, proxies: Object) -> None:
        self._client = client
        self._proxies = proxies

    async def handle(self, request: Request) -> Answer:
        """Answer, or refuse in Kubernetes' form."""
        try:
            user = await self._who(request)
            return await self._serve(request, user)
        except StatusError as error:
            return Response(error.code, json.dumps(error.status).encode())

    async def _who(self, request: Request) -> UserInfo:
        names = json.loads(self._proxies["requestheader-allowed-names"])
        if request.peer is not None and request.peer.common_name in names and "x-remote-user" in request.headers:
            groups = tuple(g.strip() for g in request.headers.get("x-remote-group", "").split(","))
            return UserInfo(request.headers["x-remote-user"], groups)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer":
            raise unauthorized("neither a front proxy nor a token")
        body = {"apiVersion": REVIEWS.api_version, "kind": "TokenReview", "spec": {"token": token}}
        status = (await self._client.create(REVIEWS, body))["status"]
        if not status.get("authenticated"):
            raise unauthorized("the token is not known")
        return UserInfo(status["user"]["username"], tuple(status["user"].get("groups") or ()))

    async def _may(self, user: UserInfo, **attributes: str) -> None:
        spec: Object = {"user": user.name, "groups": list(user.groups)}
        if "path" in attributes:
            spec["nonResourceAttributes"] = {"verb": "get", **attributes}
        else:
            spec["resourceAttributes"] = {"group": GROUP, "version": VERSION, **attributes}
        body = {"apiVersion": ACCESS.api_version, "kind": "SubjectAccessReview", "spec": spec}
        if not (await self._client.create(ACCESS, body))["status"]["allowed"]:
            raise forbidden(GROUP, attributes.get("resource", ""), attributes.get("name", ""), "the reviewer says no")

    async def _serve(self, request: Request, user: UserInfo) -> Answer:
        path = request.path.rstrip("/")
        if not path.startswith(f"{ROOT}/"):
            await self._may(user, path=path)
            return self._document(path)
        resource, _, name = path.removeprefix(f"{ROOT}/").partition("/")
        await self._may(user, resource=resource, verb="get" if name else "list", **({"name": name} if name else {}))
        if request.query.get("echo"):
            return _json({"user": user.name, "groups": list(user.groups)})
        found = [_metrics(n["metadata"]["name"]) for n in (await self._client.list(NODES)).items]
        if name:
            return _json(next(m for m in found if m["metadata"]["name"] == name))
        kind = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "NodeMetricsList", "metadata": {}}
        return _json({**kind, "items": found})

    def _document(self, path: str) -> Response:
        listed = {"apiVersion": "v1", "kind": "APIResourceList", "groupVersion": f"{GROUP}/{VERSION}"}
        found: dict[str, Any] = {
            ROOT: {**listed, "resources": RESOURCES},
            "/openapi/v3": {"paths": {ROOT[1:]: {"serverRelativeURL": f"/openapi/v3{ROOT}?hash=1"}}},
            f"/openapi/v3{ROOT}": OPENAPI,
        }
        if path not in found:
            return Response(404, b"404 page not found\n", "text/plain")
        return _json(found[path])


def _json(value: Any) -> Response:
    return Response(200, json.dumps(value).encode())


def _metrics(node: str) -> Object:
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "NodeMetrics",
        "metadata": {"name": node, "creationTimestamp": timestamp()},
        "timestamp": timestamp(),
        "window": "10s",
        "usage": {"cpu": "250m", "memory": "1Gi"},
    }


async def serve(config: str, cert: str, key: str, address: str) -> None:
    """Serve on a free port of the address, which is told on standard output, until cancelled."""
    client = Client(kubeconfig.transport(config))
    found = await client.get(CONFIGMAPS, "extension-apiserver-authentication", "kube-system")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    with tempfile.NamedTemporaryFile("w", suffix=".crt") as file:
        file.write(found["data"]["requestheader-client-ca-file"])
        file.flush()
        context.load_verify_locations(cafile=file.name)
    context.verify_mode = ssl.CERT_OPTIONAL
    listener = Listener(Extension(client, found["data"]).handle, host=address, tls=context, name="extension")
    await listener.start()
    print(listener.port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    for place in sys.argv[1:4]:
        Path(place).stat()
    asyncio.run(serve(*sys.argv[1:5]))
