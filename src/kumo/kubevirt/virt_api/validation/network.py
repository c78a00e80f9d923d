"""Rules on networks and interfaces."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from kumo.kubevirt.common.config import ClusterConfig
from kumo.kubevirt.common.specs import Spec, interfaces, networks
from kumo.kubevirt.virt_api.validation.causes import Causes, duplicate, invalid, required, unsupported
from kumo.kubevirt.virt_api.validation.disks import PCI_ADDRESS

BRIDGE_MAC = "02:00:00:00:00:00"
_NAME = re.compile(r"[A-Za-z0-9\-_]+")
_PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_MODELS = ("", "e1000", "e1000e", "igb", "ne2k_pci", "pcnet", "rtl8139", "virtio")
_BINDINGS = ("bridge", "masquerade", "sriov", "passtBinding", "binding")
_MAC = re.compile(r"([0-9a-fA-F]{2}([:-]))[0-9a-fA-F]{2}(\2[0-9a-fA-F]{2})+|([0-9a-fA-F]{4}\.)+[0-9a-fA-F]{4}")
_DISCONTINUED = {
    "slirp": "Slirp interface support has been discontinued since v1.3",
    "passt": "Passt network binding has been discontinued since v1.3",
    "macvtap": "Macvtap network binding has been discontinued since v1.3",
}


def network_rules(field: str, spec: Spec, config: ClusterConfig) -> Causes:
    """All rules on networks and interfaces, in upstream's order."""
    yield from _source_rules(field, spec)
    yield from _state_rules(field, spec)
    yield from _binding_rules(field, spec, config)
    yield from _name_rules(field, spec)
    for index, interface in enumerate(interfaces(spec)):
        yield from _interface_rules(field, index, interface, spec, config)


def discontinued_rules(field: str, spec: Spec) -> Causes:
    """Bindings that new VMs cannot have any more."""
    for index, interface in enumerate(interfaces(spec)):
        for binding, message in _DISCONTINUED.items():
            if interface.get(binding) is not None:
                yield invalid(f"{field}.domain.devices.interfaces[{index}].{binding}", message)


def _source_rules(field: str, spec: Spec) -> Causes:
    found = networks(spec)
    on_pod = [n for n in found if n.get("pod") is not None]
    multus_defaults = [n for n in found if (n.get("multus") or {}).get("default")]
    if len(on_pod) > 1:
        path = f"{field}.interfaces"
        yield duplicate(path, f"more than one interface is connected to a pod network in {path}")
    if len(multus_defaults) > 1:
        yield invalid(f"{field}.networks", "Multus CNI should only have one default network")
    if on_pod and multus_defaults:
        message = "Pod network cannot be defined when Multus default network is defined"
        yield invalid(f"{field}.networks", message)
    for index, network in enumerate(found):
        count = sum(network.get(kind) is not None for kind in ("pod", "multus", "resourceClaim"))
        if count == 0:
            yield required(f"{field}.networks[{index}]", "should have a network type")
        elif count > 1:
            yield required(f"{field}.networks[{index}]", "should have only one network type")
    for index, network in enumerate(found):
        if network.get("multus") is not None and not network["multus"].get("networkName"):
            yield required(f"{field}.networks[{index}]", "CNI delegating plugin must have a networkName")
            return


def _state_rules(field: str, spec: Spec) -> Causes:
    default = next(
        (n for n in networks(spec) if n.get("pod") is not None or (n.get("multus") or {}).get("default")), {}
    )
    for index, interface in enumerate(interfaces(spec)):
        path = f"{field}.domain.devices.interfaces[{index}].state"
        state, name = interface.get("state", ""), interface.get("name")
        if state not in ("", "absent", "down", "up"):
            yield invalid(path, f"logical {name} interface state value is unsupported: {state}")
        quoted = f'"{name}" interface\'s state "{state}"'
        if interface.get("sriov") is not None and state in ("down", "up"):
            yield invalid(path, f"{quoted} is not supported for SR-IOV NICs")
        if state == "absent" and interface.get("bridge") is None:
            yield invalid(path, f"{quoted} is supported only for bridge binding")
        if state == "absent" and default.get("name") == name:
            yield invalid(path, f"{quoted} is not supported on default networks")


def _binding_rules(field: str, spec: Spec, config: ClusterConfig) -> Causes:
    by_name = {n.get("name"): n for n in networks(spec)}
    for index, interface in enumerate(interfaces(spec)):
        own = f"{field}.domain.devices.interfaces[{index}]"
        on_pod = (by_name.get(interface.get("name")) or {}).get("pod") is not None
        if sum(interface.get(binding) is not None for binding in _BINDINGS) != 1:
            words = "interface must have exactly one binding method or binding plugin"
            yield invalid(own, f"logical {interface.get('name')} {words}")
        if interface.get("masquerade") is not None:
            if not on_pod:
                yield invalid(f"{own}.name", "Masquerade interface only implemented with pod network")
            if interface.get("macAddress") == BRIDGE_MAC:
                yield invalid(
                    f"{own}.macAddress",
                    "The requested MAC address is reserved for the in-pod bridge. Please choose another one.",
                )
        if interface.get("bridge") is not None and on_pod and not config.permit_bridge_on_pod_network:
            message = "Bridge on pod network configuration is not enabled under kubevirt-config"
            yield invalid(f"{own}.name", message)
        if interface.get("passtBinding") is not None:
            if not config.gate("PasstBinding"):
                yield invalid(f"{own}.name", "PasstBinding feature gate is not enabled")
            if not on_pod:
                yield invalid(f"{own}.name", "PasstBinding interface only implemented with pod network")


def _name_rules(field: str, spec: Spec) -> Causes:
    seen: set[Any] = set()
    for index, network in enumerate(networks(spec)):
        name = network.get("name")
        if name in seen:
            message = f'Network with name "{name}" already exists, every network must have a unique name'
            yield duplicate(f"{field}.networks[{index}].name", message)
        seen.add(name)
    used = {i.get("name") for i in interfaces(spec)}
    for index, network in enumerate(networks(spec)):
        path = f"{field}.networks[{index}].name"
        if network.get("name") not in used:
            yield required(path, f"{path} '{network.get('name')}' not found.")
    met: set[Any] = set()
    for index, interface in enumerate(interfaces(spec)):
        if interface.get("name") in met:
            message = "Only one interface can be connected to one specific network"
            yield duplicate(f"{field}.domain.devices.interfaces[{index}].name", message)
        met.add(interface.get("name"))
    for index, interface in enumerate(interfaces(spec)):
        path = f"{field}.domain.devices.interfaces[{index}].name"
        if interface.get("name") not in seen:
            yield invalid(path, f"{path} '{interface.get('name')}' not found.")


def _interface_rules(field: str, index: int, interface: dict[str, Any], spec: Spec, config: ClusterConfig) -> Causes:
    own = f"{field}.domain.devices.interfaces[{index}]"
    if not _NAME.fullmatch(interface.get("name", "")):
        message = "can only contain alphabetical characters, numbers, dashes (-) or underscores (_)"
        yield invalid(f"{own}.name", f"Network interface name {message}")
    if interface.get("model", "") not in _MODELS:
        message = f"interface {own}.name uses model {interface['model']} that is not supported."
        yield unsupported(f"{own}.model", message)
    mac = interface.get("macAddress", "")
    if mac and not _MAC.fullmatch(mac):
        yield invalid(f"{own}.macAddress", f"interface {own}.name has malformed MAC address ({mac}).")
    elif len(re.sub(r"[^0-9a-fA-F]", "", mac)) > 12:
        yield invalid(f"{own}.macAddress", f"interface {own}.name has too long MAC address ({mac}).")
    address = interface.get("pciAddress", "")
    if address and not PCI_ADDRESS.fullmatch(address):
        yield invalid(f"{own}.pciAddress", f"interface {own}.name has malformed PCI address ({address}).")
    network = next((n for n in networks(spec) if n.get("name") == interface.get("name")), {})
    if network.get("pod") is not None:
        yield from _port_rules(own, interface.get("ports") or [])
    if interface.get("portRanges") is not None and not config.gate("PortRangesSpec"):
        message = "portRanges is specified on interface but the PortRangesSpec feature gate is not enabled"
        yield invalid(f"{own}.name", message)
    yield from _dhcp_rules(field, own, interface.get("dhcpOptions"))


def _port_rules(own: str, ports: list[dict[str, Any]]) -> Causes:
    names: set[str] = set()
    for index, port in enumerate(ports):
        name = port.get("name")
        if name:
            path = f"{own}.ports[{index}].name"
            if name in names:
                yield duplicate(path, f"Duplicate name of the port: {name}")
            if len(name) > 15 or "--" in name or not _PORT_NAME.fullmatch(name):
                yield invalid(path, f"Invalid name of the port: {name}")
            names.add(name)
    for index, port in enumerate(ports):
        path, number = f"{own}.ports[{index}]", port.get("port") or 0
        if number == 0:
            yield required(f"{path}.port", "Port field is mandatory.")
        if number < 0 or number >= 65536:
            yield invalid(f"{path}.port", "Port field must be in range 0 < x < 65536.")
        if port.get("protocol", "") not in ("", "TCP", "UDP"):
            yield invalid(f"{path}.protocol", "Unknown protocol, only TCP or UDP allowed")


def _dhcp_rules(field: str, own: str, options: dict[str, Any] | None) -> Causes:
    if options is None:
        return
    private = [o.get("option", 0) for o in options.get("privateOptions") or ()]
    if len(set(private)) < len(private):
        yield invalid(field, "Found Duplicates: you have provided duplicate DHCPPrivateOptions")
    for option in private:
        if not 224 <= option <= 254:
            yield invalid(field, "provided DHCPPrivateOptions are out of range, must be in range 224 to 254")
    for index, server in enumerate(options.get("ntpServers") or ()):
        try:
            ipaddress.IPv4Address(server)
        except ValueError:
            message = "NTP servers must be a list of valid IPv4 addresses."
            yield invalid(f"{own}.dhcpOptions.ntpServers[{index}]", message)
