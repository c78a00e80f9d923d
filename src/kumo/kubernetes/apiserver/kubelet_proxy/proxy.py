"""What a request to a pod's, node's or service's inside is answered with."""

from __future__ import annotations

import contextlib
import json
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

from kumo.api.errors import StatusError, bad_request, internal, no_such_path
from kumo.api.objects import Object
from kumo.api.users import UserInfo
from kumo.kubernetes.apiserver.attributes import Reader, RequestInfo
from kumo.kubernetes.apiserver.authorization import Authorizer
from kumo.kubernetes.apiserver.kubelet_proxy import parameters, targets
from kumo.kubernetes.apiserver.kubelet_proxy.links import Detour
from kumo.kubernetes.apiserver.kubelet_proxy.log_socket import BASE64, BINARY, chosen, log_upgrade
from kumo.kubernetes.apiserver.kubelet_proxy.older_channels import OLDER_PROTOCOLS, as_older
from kumo.kubernetes.apiserver.kubelet_proxy.port_forward import CHANNEL_PROTOCOLS, PROTOCOL, PortForwardSession
from kumo.kubernetes.apiserver.kubelet_proxy.upstream import (
    Connections,
    open_stream,
    open_websocket,
    pass_through,
    through_proxy,
    whole_refusal,
)
from kumo.machinery.http import Answer, Request, Response, Upgrade, WebSocket
from kumo.machinery.tls import client_context
from kumo.machinery.transport import HttpTransport

_PLAIN = "/:@!$&'()*+,;=~"
"""What stands in a path unquoted (RFC 3986)."""
_STREAMS = ("exec", "attach", "portforward")


@dataclass(frozen=True, slots=True)
class KubeletProxyConfig:
    """How the API server proves itself to nodes and knows them: files (PEM), all or none."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


class KubeletProxy:
    """Answers `pods/{log,exec,attach,portforward,proxy}`, `nodes/proxy` and `services/proxy`.

    With an authorizer, a WebSocket to exec, attach or portforward needs the verb `create` besides `get`, as upstream
    since 1.35.
    """

    def __init__(self, reader: Reader, config: KubeletProxyConfig, authorizer: Authorizer | None = None) -> None:
        self._reader = reader
        self._authorizer = authorizer
        tls = None
        if config.ca is not None:
            tls = client_context(ca=config.ca, cert=config.cert or "", key=config.key or "")
            # A node is known by its address and the cluster's CA; names of nodes need not resolve.
        self._connections = Connections(tls)

    async def close(self) -> None:
        """Let go of connections."""
        await self._connections.close()

    async def handle(self, request: Request, info: RequestInfo, user: UserInfo) -> Answer:
        """The answer to a request whose `info` names one of these subresources. Raises StatusError."""
        about = (info.resource, info.subresource)
        if info.resource == "pods" and info.subresource in _STREAMS:
            self._may_create(request, info, user)
        if about == ("pods", "log"):
            return await self._log(request, info)
        if about in (("pods", "exec"), ("pods", "attach")):
            return await self._streams(request, info)
        if about == ("pods", "portforward"):
            return await self._port_forward(request, info)
        if info.subresource == "proxy":
            return await self._proxy(request, info)
        raise no_such_path()

    def _may_create(self, request: Request, info: RequestInfo, user: UserInfo) -> None:
        if self._authorizer is None or info.verb == "create" or not request.wants_websocket:
            return
        wanted = RequestInfo(
            "create",
            info.path,
            info.group,
            info.version,
            info.namespace,
            info.resource,
            info.subresource,
            info.name,
        )
        self._authorizer.check(user, wanted)

    def _node(self, pod: Object) -> HttpTransport:
        address = targets.node_address(self._reader, targets.assigned_node(pod))
        return self._connections.to(address, node=True)

    # -- logs -------------------------------------------------------------------------------------------------------

    async def _log(self, request: Request, info: RequestInfo) -> Answer:
        pod = targets.pod_of(self._reader, info.namespace, info.name)
        query = request.query
        sent = parameters.log_query(info.name, query)
        container = targets.container_of(pod, query.get("container", ""))
        if not (pod.get("spec") or {}).get("nodeName"):
            return Response(200, b"", "text/plain")
        path = f"/containerLogs/{info.namespace}/{info.name}/{container}"
        protocol = chosen(request.websocket_protocols) if request.wants_websocket else ""
        if protocol is None:
            raise bad_request(f"none of the offered subprotocols is known; offer {BINARY} or {BASE64}")
        head, body = await open_stream(self._node(pod), path, sent)
        if 200 <= head.status < 300:
            return log_upgrade(protocol, body) if request.wants_websocket else Response(200, body, "text/plain")
        text = await whole_refusal(body)
        if head.status == 400:
            raise bad_request(text)
        if head.status == 500:
            raise internal(text)
        raise StatusError(head.status, "NotFound" if head.status == 404 else "", text)

    # -- exec, attach -----------------------------------------------------------------------------------------------

    async def _streams(self, request: Request, info: RequestInfo) -> Answer:
        pod = targets.pod_of(self._reader, info.namespace, info.name)
        container = targets.container_of(pod, request.query.get("container", ""))
        sent = parameters.stream_query(request.query_list, command=info.subresource == "exec")
        node = self._node(pod)
        path = f"/{info.subresource}/{info.namespace}/{info.name}/{container}"
        if not request.wants_websocket:
            # The client's other protocol, after the first was refused: what it shows is this answer, so say why.
            head, body = await open_stream(node, path, sent)
            return refused_upgrade(head.status, await whole_refusal(body))
        offered = tuple(p for p in request.websocket_protocols if p in CHANNEL_PROTOCOLS)
        older = next((p for p in request.websocket_protocols if p in OLDER_PROTOCOLS), "")
        if not offered and older:
            return as_older(older, await open_websocket(node, path, sent, CHANNEL_PROTOCOLS[-1:]))
        if not offered:
            known = ", ".join(CHANNEL_PROTOCOLS + OLDER_PROTOCOLS)
            raise bad_request(f"none of the offered subprotocols is known; offer one of {known}")
        return await open_websocket(node, path, sent, offered)

    # -- port-forward -----------------------------------------------------------------------------------------------

    async def _port_forward(self, request: Request, info: RequestInfo) -> Answer:
        pod = targets.pod_of(self._reader, info.namespace, info.name)
        node = self._node(pod)
        if not request.wants_websocket:
            raise bad_request("Upgrade request required")
        path = f"/portForward/{info.namespace}/{info.name}"
        offered = request.websocket_protocols
        if PROTOCOL in offered:

            def dial(port: int) -> AbstractAsyncContextManager[WebSocket]:
                return node.websocket(path, query=f"port={port}", protocols=CHANNEL_PROTOCOLS)

            async def run(socket: WebSocket) -> None:
                await PortForwardSession(socket, dial).run()

            return Upgrade(PROTOCOL, run)
        sent = urlencode([("port", str(p)) for p in parameters.ports_of(request.query_list)])
        # The older one first: upstream knows no other here, and clients that offer both may not expect v5's messages.
        known = tuple(p for p in reversed(CHANNEL_PROTOCOLS) if p in offered)[:1]
        if not offered:  # Who names none speaks the same (kr8s does).
            return Upgrade("", (await open_websocket(node, path, sent, CHANNEL_PROTOCOLS[-1:])).run)
        if not known:
            raise bad_request(
                f"none of the offered subprotocols is known; offer {PROTOCOL} or {', '.join(CHANNEL_PROTOCOLS)}"
            )
        return await open_websocket(node, path, sent, known)

    # -- proxies ----------------------------------------------------------------------------------------------------

    async def _proxy(self, request: Request, info: RequestInfo) -> Answer:
        if info.resource == "pods":
            address = targets.pod_address(self._reader, info.namespace, info.name)
        elif info.resource == "services":
            address = targets.service_address(self._reader, info.namespace, info.name)
        elif info.resource == "nodes":
            address = targets.node_address(self._reader, targets.split_name(info.name).name)
        else:
            raise no_such_path()
        _, _, rest = request.path.partition(f"/{info.name}/proxy")
        if not rest and request.method in ("GET", "HEAD") and not request.wants_websocket:
            # Relative links of a page lead below it only if its own path ends with a slash (upstream's issue 4958).
            query = f"?{request.query_string}" if request.query_string else ""
            return Response(301, b"", "", {"location": f"{quote(request.path, safe=_PLAIN)}/{query}"})
        transport = self._connections.to(address, node=info.resource == "nodes")
        forwarded = {"x-forwarded-uri": request.path, "x-forwarded-proto": request.scheme}
        answer = await pass_through(transport, request, quote(rest or "/"), request.query_string, own=forwarded)
        if isinstance(answer, Upgrade):
            return answer
        known = frozenset((address.url.partition("://")[2], request.headers.get("host", "")))
        return await through_proxy(answer, Detour(request.path.removesuffix(rest), known))


def refused_upgrade(status: int, answer: str) -> Response:
    """A node's refusal as kubectl wants it: the reason alone, which it puts "unable to upgrade connection" before."""
    with contextlib.suppress(ValueError, AttributeError):
        answer = str(json.loads(answer).get("message") or answer)
    for prefix in ("Internal error occurred: ", "unable to upgrade connection: "):
        answer = answer.removeprefix(prefix)
    return Response(status, answer.encode(), "text/plain")
