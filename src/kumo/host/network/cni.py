"""The Container Network Interface as values: requests, results, errors, and the configuration files. No I/O.

Source: the CNI specification 1.0.0 (results and error codes), 0.3.1 and 0.4.0 for older runtimes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

SUPPORTED_VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0")
PLUGIN = "kumo-cni"
"""The forwarder's file name, and so the plugin's `type` in the configuration."""

INCOMPATIBLE_VERSION = 1
UNKNOWN_CONTAINER = 3
INVALID_ENVIRONMENT = 4
DECODING_FAILURE = 6
INVALID_CONFIGURATION = 7
TRY_AGAIN_LATER = 11
INTERNAL = 100
"""Error codes; the specification leaves 100 and above to plugins."""


class CniError(Exception):
    """A refusal, in the specification's form."""

    def __init__(self, code: int, message: str, details: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details


@dataclass(frozen=True, slots=True)
class PortMapping:
    """A port of the node that leads to one of the pod (`hostPort`); `host_ip` is empty for all of the node's.

    `0.0.0.0` and `::` are all of one family.
    """

    host_port: int
    container_port: int
    protocol: str = "tcp"
    host_ip: str = ""


@dataclass(frozen=True, slots=True)
class CniRequest:
    """One call of the plugin."""

    command: str
    container: str
    netns: str
    interface: str
    version: str
    arguments: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[PortMapping, ...] = ()
    previous: Mapping[str, Any] = field(default_factory=dict)

    @property
    def pod(self) -> str:
        """`namespace/name` of the pod, as containerd tells it, or the empty string."""
        name = self.arguments.get("K8S_POD_NAME", "")
        return f"{self.arguments.get('K8S_POD_NAMESPACE', '')}/{name}" if name else ""


def parse_request(raw: bytes) -> CniRequest:
    """Read what the forwarder sends: lines `CNI_X=value`, an empty line, the configuration. Raises CniError."""
    head, separator, body = raw.partition(b"\n\n")
    if not separator:
        raise CniError(DECODING_FAILURE, "the request has no end of its environment")
    environment = dict(line.split("=", 1) for line in head.decode(errors="replace").splitlines() if "=" in line)
    try:
        config = msgspec.json.decode(body or b"{}")
    except msgspec.DecodeError as error:
        raise CniError(DECODING_FAILURE, f"the network configuration is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise CniError(INVALID_CONFIGURATION, "the network configuration is not an object")
    version = str(config.get("cniVersion") or "0.3.1")
    if version not in SUPPORTED_VERSIONS:
        raise CniError(INCOMPATIBLE_VERSION, f"cniVersion {version} is not one of {', '.join(SUPPORTED_VERSIONS)}")
    command = environment.get("CNI_COMMAND", "")
    if command not in ("ADD", "DEL", "CHECK", "VERSION"):
        raise CniError(INVALID_ENVIRONMENT, f"CNI_COMMAND {command!r} is not one of ADD, DEL, CHECK, VERSION")
    request = CniRequest(
        command=command,
        container=environment.get("CNI_CONTAINERID", ""),
        netns=environment.get("CNI_NETNS", ""),
        interface=environment.get("CNI_IFNAME", ""),
        version=version,
        arguments=dict(p.split("=", 1) for p in environment.get("CNI_ARGS", "").split(";") if "=" in p),
        ports=_ports(config),
        previous=config.get("prevResult") or {},
    )
    _check(request)
    return request


def _ports(config: dict[str, Any]) -> tuple[PortMapping, ...]:
    """The host ports. Names of fields are read whatever their case: runtimes write `hostPort` and `HostPort`."""
    mappings = (config.get("runtimeConfig") or {}).get("portMappings") or ()
    found = [{str(k).lower(): v for k, v in m.items()} for m in mappings]
    return tuple(
        PortMapping(
            host_port=int(m["hostport"]),
            container_port=int(m["containerport"]),
            protocol=str(m.get("protocol") or "tcp").lower(),
            host_ip=str(m.get("hostip") or ""),
        )
        for m in found
        if m.get("hostport")
    )


def _check(request: CniRequest) -> None:
    if request.command == "VERSION":
        return
    if not request.container:
        raise CniError(INVALID_ENVIRONMENT, "CNI_CONTAINERID is empty")
    if not request.interface or len(request.interface) > 15 or "/" in request.interface:
        raise CniError(INVALID_ENVIRONMENT, f"CNI_IFNAME {request.interface!r} is not a device's name")
    if request.command != "DEL" and not request.netns:
        raise CniError(INVALID_ENVIRONMENT, "CNI_NETNS is empty")


def success(result: Mapping[str, Any] | None = None) -> bytes:
    """What the forwarder gets for a call that went well."""
    return b"0\n" + (msgspec.json.encode(result) if result is not None else b"")


def failure(error: CniError, version: str = "1.0.0") -> bytes:
    """What the forwarder gets for a refusal."""
    body = {"cniVersion": version, "code": error.code, "msg": error.message, "details": error.details}
    return b"1\n" + msgspec.json.encode(body)


def versions(version: str) -> dict[str, Any]:
    """The result of VERSION."""
    return {"cniVersion": version, "supportedVersions": list(SUPPORTED_VERSIONS)}


@dataclass(frozen=True, slots=True)
class PodAddress:
    """An address of a pod in its network, and the way out of it."""

    address: str
    prefix_length: int
    gateway: str


def result(
    request: CniRequest, *, host_interface: str, host_mac: str, mac: str, addresses: Sequence[PodAddress]
) -> dict[str, Any]:
    """The result of ADD: the pair of devices, the pod's addresses and its default routes."""
    ips: list[dict[str, Any]] = []
    for found in addresses:
        ip = {"interface": 1, "address": f"{found.address}/{found.prefix_length}", "gateway": found.gateway}
        ips.append(ip | ({"version": "6" if ":" in found.address else "4"} if request.version.startswith("0.") else {}))
    return {
        "cniVersion": request.version,
        "interfaces": [
            {"name": host_interface, "mac": host_mac},
            {"name": request.interface, "mac": mac, "sandbox": request.netns},
        ],
        "ips": ips,
        "routes": [{"dst": "::/0" if ":" in a.gateway else "0.0.0.0/0", "gw": a.gateway} for a in addresses],
        "dns": {},
    }


def network_configuration(name: str, socket: str) -> bytes:
    """The content of the `.conflist` file by which containerd finds the plugin and the plugin finds the agent."""
    plugin = {"type": PLUGIN, "socket": socket, "capabilities": {"portMappings": True}}
    body = {"cniVersion": "1.0.0", "name": name, "plugins": [plugin]}
    return msgspec.json.format(msgspec.json.encode(body), indent=2) + b"\n"
