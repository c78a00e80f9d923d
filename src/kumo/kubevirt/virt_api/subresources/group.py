"""The API group as a value that an API server can take in."""

from __future__ import annotations

from collections.abc import Callable

from kumo.kubevirt.common.config import ClusterConfig
from kumo.kubevirt.common.names import SUBRESOURCE_GROUP, SUBRESOURCE_VERSIONS
from kumo.kubevirt.virt_api.subresources import discovery, routes
from kumo.kubevirt.virt_api.subresources.authorization import authorize
from kumo.kubevirt.virt_api.subresources.call import Services
from kumo.machinery.client import Client, Transport
from kumo.machinery.extension import ApiGroup
from kumo.machinery.http import Answer, Request


def subresource_group(
    client: Client, config: Callable[[], ClusterConfig], dial: Callable[[str], Transport]
) -> ApiGroup:
    """`subresources.kubevirt.io`, v1 and v1alpha3.

    `client` acts as virt-api. `dial` gives a transport to the virt-handler at `host:port`, with the certificates of the
    cluster; it is closed after use. virt-api asks for each caller's rights itself, as upstream's does.
    """
    services = Services(client, config, dial)

    async def handle(request: Request) -> Answer:
        call, function = routes.find(request, services)
        if function is None:
            return discovery.resource_list(call.version) if call.version else discovery.api_group()
        if call.namespace:
            await authorize(client, call)
        return await function(call)

    return ApiGroup(
        group=SUBRESOURCE_GROUP,
        versions=SUBRESOURCE_VERSIONS,
        handler=handle,
        resources=discovery.resources(),
        authorize=True,
    )
