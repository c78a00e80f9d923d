"""Addresses behind services, in Endpoints and elsewhere: what may not be one."""

from __future__ import annotations

from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.api.objects import Object
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds.rules import Rules

_PROTOCOLS = ("SCTP", "TCP", "UDP")


def check_endpoint_address(path: str, text: str) -> list[Cause]:
    """An address that traffic can be sent to."""
    found = names.sloppy_ip(text)
    if found is None:
        return [fields.invalid(path, text, "must be a valid IP address")]
    wrong = []
    if found.is_unspecified:
        wrong.append(f"may not be unspecified ({text})")
    if found.is_loopback:
        wrong.append("may not be in the loopback range (127.0.0.0/8, ::1/128)")
    if found.is_link_local:
        wrong.append("may not be in the link-local range (169.254.0.0/16, fe80::/10)")
    if found.is_multicast and found.packed[:3] == b"\xe0\0\0":
        wrong.append("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
    if found.version == 6 and found.packed[:1] == b"\xff" and found.packed[1] & 0x0F == 2:
        wrong.append("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
    return fields.each(path, text, wrong)


def _default(obj: Object) -> None:
    for subset in obj.get("subsets") or ():
        for port in subset.get("ports") or ():
            port["protocol"] = port.get("protocol") or "TCP"


def _validate(obj: Object) -> list[Cause]:
    found: list[Cause] = []
    for index, subset in enumerate(obj.get("subsets") or ()):
        here = f"subsets[{index}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            found.append(fields.required(here, "must specify `addresses` or `notReadyAddresses`"))
        for key in ("addresses", "notReadyAddresses"):
            for number, address in enumerate(subset.get(key) or ()):
                _address(f"{here}.{key}[{number}]", address, found)
        ports = subset.get("ports") or ()
        for number, port in enumerate(ports):
            _port(f"{here}.ports[{number}]", port, len(ports) > 1, found)
    return found


def _address(path: str, address: dict[str, Any], found: list[Cause]) -> None:
    text, host, node = address.get("ip") or "", address.get("hostname"), address.get("nodeName")
    found += fields.each(f"{path}.ip", text, names.check_ip(text))
    if host:
        found += fields.each(f"{path}.hostname", host, names.check_label(host))
    if node is not None:
        found += fields.each(f"{path}.nodeName", node, names.check_subdomain(node))
    found += check_endpoint_address(f"{path}.ip", text)


def _port(path: str, port: dict[str, Any], named: bool, found: list[Cause]) -> None:
    name, number, protocol = port.get("name") or "", port.get("port") or 0, port.get("protocol") or ""
    if named and not name:
        found.append(fields.required(f"{path}.name"))
    elif name:
        found += fields.each(f"{path}.name", name, names.check_label(name))
    found += fields.each(f"{path}.port", number, names.check_port(number))
    if protocol not in _PROTOCOLS:
        where = f"{path}.protocol"
        found.append(fields.unsupported(where, protocol, _PROTOCOLS) if protocol else fields.required(where))
    application = port.get("appProtocol")
    if application is not None:
        found += fields.each(f"{path}.appProtocol", application, names.check_qualified_name(application))


def _check_update(new: Object, old: Object) -> list[Cause]:
    """Subsets that stay as they are need not be good."""
    return [] if new.get("subsets") == old.get("subsets") else _validate(new)


def _warn(new: Object, old: Object | None) -> list[str]:
    found = []
    for index, subset in enumerate(new.get("subsets") or ()):
        for key in ("addresses", "notReadyAddresses"):
            for number, address in enumerate(subset.get(key) or ()):
                if text := names.ip_warning(address.get("ip") or ""):
                    found.append(f"subsets[{index}].{key}[{number}].ip: {text}")
    return found


def rules() -> dict[GVK, Rules]:
    """The rules of Endpoints."""
    return {
        GVK("", "v1", "Endpoints"): Rules(
            default=_default,
            validate=_validate,
            check_update=_check_update,
            revalidates=True,
            warn=_warn,
            allow_create_on_update=True,
        )
    }
