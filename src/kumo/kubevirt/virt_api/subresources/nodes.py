"""The way to the virt-handler of the node that an instance runs on."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import urlencode

from kumo.api.errors import StatusError, bad_request, is_not_found
from kumo.api.objects import Object, annotations_of, name_of, namespace_of
from kumo.api.resources import NODES
from kumo.kubevirt.common.names import HANDLER_ADDRESS_ANNOTATION, RUNNING, SCHEDULED
from kumo.kubevirt.virt_api.subresources.call import Services
from kumo.machinery.client import Reply, Transport


class HandlerError(Exception):
    """virt-handler could not be reached or refused; the message says what it said."""


async def handler_of(services: Services, vmi: Object) -> Transport:
    """A transport to the virt-handler of the instance's node. Raises StatusError 400 when there is none to talk to."""
    phase = (vmi.get("status") or {}).get("phase", "")
    if phase not in (RUNNING, SCHEDULED):
        states = f"{RUNNING} or {SCHEDULED}"
        raise bad_request(f"Unable to connect to VirtualMachineInstance because phase is {phase} instead of {states}")
    node = (vmi.get("status") or {}).get("nodeName", "")
    try:
        found = await services.client.get(NODES, node) if node else {}
    except StatusError as error:
        if not is_not_found(error):
            raise
        found = {}
    address = annotations_of(found).get(HANDLER_ADDRESS_ANNOTATION)
    if not address:
        raise bad_request(f"No virt-handler on node {node} found")
    return services.dial(address)


def handler_path(vmi: Object, action: str) -> str:
    """The path of that action on virt-handler."""
    return f"/v1/namespaces/{namespace_of(vmi)}/virtualmachineinstances/{name_of(vmi)}/{action}"


async def ask_handler(
    services: Services, vmi: Object, method: str, action: str, *, body: bytes = b"", query: dict[str, str] | None = None
) -> Reply:
    """One request to the instance's virt-handler; its answer, which is a good one.

    Raises StatusError 400 when there is no virt-handler, HandlerError when it can't be reached or refuses.
    """
    transport = await handler_of(services, vmi)
    try:
        reply = await transport.request(
            method,
            handler_path(vmi, action),
            query=urlencode(query or {}),
            headers={"accept": "application/json", "content-type": "application/json"},
            body=body,
        )
    except (ConnectionError, OSError, TimeoutError) as error:
        raise HandlerError(f"unable to reach virt-handler: {error}") from error
    finally:
        await transport.close()
    if reply.status >= 300:
        text = reply.body.decode(errors="replace").strip()
        try:
            phrase = HTTPStatus(reply.status).phrase
        except ValueError:
            phrase = ""
        raise HandlerError(f"unexpected return code {reply.status} ({reply.status} {phrase}), message: {text}")
    return reply
