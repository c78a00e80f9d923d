"""The Identity service: what the driver is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.wrappers_pb2 import BoolValue

from kumo import __version__
from kumo.host.csi.server import Handler
from kumo.host.csi.stubs import csi_pb2 as pb
from kumo.kubernetes.local_csi.config import DRIVER

_SERVICES = pb.PluginCapability.Service
_EXPANSION = pb.PluginCapability.VolumeExpansion


def identity() -> Mapping[str, Handler]:
    """The methods of the service."""

    async def info(_: Any) -> Any:
        return pb.GetPluginInfoResponse(name=DRIVER, vendor_version=__version__)

    async def capabilities(_: Any) -> Any:
        services = (_SERVICES.CONTROLLER_SERVICE, _SERVICES.VOLUME_ACCESSIBILITY_CONSTRAINTS)
        found = [pb.PluginCapability(service=_SERVICES(type=s)) for s in services]
        found.append(pb.PluginCapability(volume_expansion=_EXPANSION(type=_EXPANSION.ONLINE)))
        return pb.GetPluginCapabilitiesResponse(capabilities=found)

    async def probe(_: Any) -> Any:
        return pb.ProbeResponse(ready=BoolValue(value=True))

    return {"GetPluginInfo": info, "GetPluginCapabilities": capabilities, "Probe": probe}
