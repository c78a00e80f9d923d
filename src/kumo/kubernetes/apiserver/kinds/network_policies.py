"""Network policies: defaults, validation, warnings (`pkg/apis/networking`)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.api.objects import Object
from kumo.kubernetes.apiserver.kinds.checks import set_default, spec_of
from kumo.kubernetes.apiserver.kinds.rules import at
from kumo.kubernetes.apiserver.kinds.selector_validation import validate_label_selector

_PROTOCOLS = ("TCP", "UDP", "SCTP")
_TYPES = ("Ingress", "Egress")
_DIRECTIONS = (("ingress", "from"), ("egress", "to"))


def default_policy(obj: Object) -> None:
    """Directions, and the protocol of ports."""
    spec = spec_of(obj)
    set_default(spec, podSelector={})
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    for rule in (*(spec.get("ingress") or ()), *(spec.get("egress") or ())):
        for port in rule.get("ports") or ():
            set_default(port, protocol="TCP")


def check_policy(new: Object, old: Object | None) -> list[Cause]:
    """What is wrong with a policy; networks that stand in its old state are not judged again."""
    spec = new.get("spec") or {}
    known: set[str] = set()
    for _, block in _blocks(old or {}):
        known |= {block.get("cidr") or "", *(block.get("except") or ())}
    found = validate_label_selector("spec.podSelector", spec.get("podSelector"))
    for direction, key in _DIRECTIONS:
        for index, rule in enumerate(spec.get(direction) or ()):
            here = f"spec.{direction}[{index}]"
            for number, port in enumerate(rule.get("ports") or ()):
                found += _port(f"{here}.ports[{number}]", port)
            for number, peer in enumerate(rule.get(key) or ()):
                found += _peer(f"{here}.{key}[{number}]", peer, known)
    types = spec.get("policyTypes") or ()
    if len(types) > len(_TYPES):
        detail = "may not specify more than two policyTypes"
        return [*found, fields.invalid("spec.policyTypes", list(types), detail)]
    for index, kind in enumerate(types):
        if kind not in _TYPES:
            found.append(fields.unsupported(f"spec.policyTypes[{index}]", kind, _TYPES))
    return found


def warn_policy(new: Object, old: Object | None) -> list[str]:
    """Networks that are oddly written."""
    told = []
    for here, block in _blocks(new):
        told += [f"{here}.cidr: {text}" for text in names.cidr_warnings(block.get("cidr") or "")]
        for index, part in enumerate(block.get("except") or ()):
            told += [f"{here}.except[{index}]: {text}" for text in names.cidr_warnings(part)]
    return told


def _blocks(obj: Object) -> Iterator[tuple[str, dict[str, Any]]]:
    """The paths and values of a policy's `ipBlock`s."""
    for direction, key in _DIRECTIONS:
        for index, rule in enumerate(at(obj, f"spec.{direction}") or ()):
            for number, peer in enumerate(rule.get(key) or ()):
                if peer.get("ipBlock") is not None:
                    yield f"spec.{direction}[{index}].{key}[{number}].ipBlock", peer["ipBlock"]


def _port(path: str, item: dict[str, Any]) -> list[Cause]:
    found: list[Cause] = []
    protocol, port, last = item.get("protocol"), item.get("port"), item.get("endPort")
    if protocol is not None and protocol not in _PROTOCOLS:
        found.append(fields.unsupported(f"{path}.protocol", protocol, _PROTOCOLS))
    here = f"{path}.endPort"
    if port is None:
        if last is not None:
            found.append(fields.invalid(here, last, "may not be specified when `port` is not specified"))
    elif isinstance(port, str):
        if last is not None:
            found.append(fields.invalid(here, last, "may not be specified when `port` is non-numeric"))
        found += fields.each(f"{path}.port", port, names.check_port_name(port))
    else:
        found += fields.each(f"{path}.port", port, names.check_port(port))
        if last is not None:
            if last < port:
                found.append(fields.invalid(here, port, "must be greater than or equal to `port`"))
            found += fields.each(here, last, names.check_port(last))
    return found


def _peer(path: str, peer: dict[str, Any], known: set[str]) -> list[Cause]:
    kinds = [k for k in ("podSelector", "namespaceSelector", "ipBlock") if peer.get(k) is not None]
    found: list[Cause] = []
    for kind in kinds:
        here = f"{path}.{kind}"
        found += _block(here, peer[kind], known) if kind == "ipBlock" else validate_label_selector(here, peer[kind])
    if not kinds:
        found.append(fields.required(path, "must specify a peer"))
    elif "ipBlock" in kinds and len(kinds) > 1:
        found.append(fields.forbidden(path, "may not specify both ipBlock and another peer"))
    return found


def _block(path: str, block: dict[str, Any], known: set[str]) -> list[Cause]:
    whole = block.get("cidr") or ""
    if not whole:
        return [fields.required(f"{path}.cidr")]
    found = [] if whole in known else fields.each(f"{path}.cidr", whole, names.check_cidr(whole))
    outer = _network(whole)
    if outer is None:
        return found
    for index, part in enumerate(block.get("except") or ()):
        here, inner = f"{path}.except[{index}]", _network(part)
        found += [] if part in known else fields.each(here, part, names.check_cidr(part))
        if inner is None:
            continue
        within = outer.version == inner.version and inner.network_address in outer
        if not within or outer.prefixlen >= inner.prefixlen:
            found.append(fields.invalid(here, part, "must be a strict subset of `cidr`"))
    return found


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    address, _, length = text.partition("/")
    found = names.sloppy_ip(address)
    if found is None or not length.isascii() or not length.isdigit() or int(length) > found.max_prefixlen:
        return None
    return ipaddress.ip_network(f"{found}/{int(length)}", strict=False)
