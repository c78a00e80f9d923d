"""What a ResourceClaim asks for: requests, constraints, configuration."""

from __future__ import annotations

from functools import partial
from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.kubernetes.apiserver.kinds.devices.identifiers import (
    check_data,
    check_driver,
    check_full_attribute_name,
    check_label,
    each_item,
    each_unique,
)
from kumo.kubernetes.apiserver.kinds.devices.selectors import check_selectors

MOST_REQUESTS = 32
MOST_CONFIGURATIONS = 32
_MOST_CONSTRAINTS = 32
_MOST_ALTERNATIVES = 8
EFFECTS = ("NoExecute", "NoSchedule", "None")
_ONE_OF = "exactly one of `exactly` or `firstAvailable` is required"
_REFERENCE = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
_CONSTRAINT = 'exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set'

Requests = dict[str, set[str]]
"""Names of requests, and of the alternatives of each."""


def default_claim(spec: dict[str, Any] | None) -> None:
    """Defaults of a claim's spec: one device exactly, tolerations of an equal value."""
    for request in ((spec or {}).get("devices") or {}).get("requests") or ():
        for one in (request.get("exactly"), *(request.get("firstAvailable") or ())):
            if one is None:
                continue
            one["allocationMode"] = one.get("allocationMode") or "ExactCount"
            if one["allocationMode"] == "ExactCount" and not one.get("count"):
                one["count"] = 1
            default_tolerations(one)


def default_tolerations(holder: dict[str, Any]) -> None:
    """Tolerations are of an equal value unless they say otherwise."""
    for toleration in holder.get("tolerations") or ():
        toleration["operator"] = toleration.get("operator") or "Equal"


def request_names(spec: dict[str, Any] | None) -> Requests:
    """The names that other parts of a claim may refer to."""
    found: Requests = {}
    for request in ((spec or {}).get("devices") or {}).get("requests") or ():
        found[request.get("name") or ""] = {s.get("name") or "" for s in request.get("firstAvailable") or ()}
    return found


def check_claim(path: str, spec: dict[str, Any] | None) -> list[Cause]:
    """A claim's spec."""
    devices, here = (spec or {}).get("devices") or {}, f"{path}.devices"
    known = request_names(spec)
    found = each_unique(f"{here}.requests", devices.get("requests"), MOST_REQUESTS, _request, _name)
    constraint = partial(_constraint, known)
    found += each_item(f"{here}.constraints", devices.get("constraints"), _MOST_CONSTRAINTS, constraint)
    configuration = partial(_configuration, known)
    return found + each_item(f"{here}.config", devices.get("config"), MOST_CONFIGURATIONS, configuration)


def _name(item: dict[str, Any]) -> str:
    return item.get("name") or ""


def _request(path: str, request: dict[str, Any]) -> list[Cause]:
    found = check_label(f"{path}.name", _name(request))
    exactly, alternatives = request.get("exactly"), request.get("firstAvailable")
    if exactly is None and not alternatives:
        return [*found, fields.required(path, _ONE_OF)]
    if exactly is not None and alternatives:
        return [*found, fields.invalid(path, None, f"{_ONE_OF}, but multiple fields are set")]
    if exactly is not None:
        return found + _exactly(f"{path}.exactly", exactly)
    return found + each_unique(f"{path}.firstAvailable", alternatives, _MOST_ALTERNATIVES, _alternative, _name)


def _alternative(path: str, request: dict[str, Any]) -> list[Cause]:
    return check_label(f"{path}.name", _name(request)) + _exactly(path, request)


def _exactly(path: str, request: dict[str, Any]) -> list[Cause]:
    called = request.get("deviceClassName") or ""
    found = [] if called else [fields.required(f"{path}.deviceClassName")]
    found += fields.each(f"{path}.deviceClassName", called, names.check_subdomain(called) if called else ())
    found += check_selectors(f"{path}.selectors", request.get("selectors"))
    mode, count = request.get("allocationMode") or "", request.get("count") or 0
    if mode == "All":
        if count:
            detail = "must not be specified when allocationMode is 'All'"
            found.append(fields.invalid(f"{path}.count", count, detail))
    elif mode == "ExactCount":
        if count <= 0:
            found.append(fields.invalid(f"{path}.count", count, "must be greater than zero"))
    else:
        found.append(fields.unsupported(f"{path}.allocationMode", mode, ("All", "ExactCount")))
    return found + each_item(f"{path}.tolerations", request.get("tolerations"), -1, _toleration)


def _toleration(path: str, toleration: dict[str, Any]) -> list[Cause]:
    key, operator, value = (toleration.get(k) or "" for k in ("key", "operator", "value"))
    found = fields.each(f"{path}.key", key, names.check_qualified_name(key) if key else ())
    if operator == "Exists":
        if value:
            found.append(fields.invalid(f"{path}.value", value, "must be empty for operator `Exists`"))
    elif operator == "Equal":
        found += fields.each(f"{path}.value", value, names.check_label_value(value))
    elif not operator:
        found.append(fields.required(f"{path}.operator"))
    else:
        found.append(fields.unsupported(f"{path}.operator", operator, ("Equal", "Exists")))
    effect = toleration.get("effect") or ""
    if effect and effect not in EFFECTS:
        found.append(fields.unsupported(f"{path}.effect", effect, EFFECTS))
    return found


def check_reference(known: Requests, path: str, name: str) -> list[Cause]:
    """A reference to a request, or to one of its alternatives."""
    parts = name.split("/")
    if len(parts) > 2:
        return [fields.invalid(path, name, _REFERENCE)]
    found = [cause for part in parts for cause in fields.each(path, part, names.check_label(part))]
    if parts[0] not in known or (len(parts) == 2 and parts[1] not in known[parts[0]]):
        found.append(fields.invalid(path, name, _REFERENCE))
    return found


def check_references(known: Requests, path: str, references: Any) -> list[Cause]:
    """Such references, no two alike."""
    return each_unique(path, references, MOST_REQUESTS, partial(check_reference, known))


def _constraint(known: Requests, path: str, constraint: dict[str, Any]) -> list[Cause]:
    found = check_references(known, f"{path}.requests", constraint.get("requests"))
    for key in ("matchAttribute", "distinctAttribute"):
        if constraint.get(key) is not None:
            return found + check_full_attribute_name(f"{path}.{key}", constraint[key])
    return [*found, fields.required(path, _CONSTRAINT)]


def _configuration(known: Requests, path: str, item: dict[str, Any]) -> list[Cause]:
    return check_references(known, f"{path}.requests", item.get("requests")) + check_opaque(path, item)


def check_opaque(path: str, item: dict[str, Any], *, stored: bool = False) -> list[Cause]:
    """Configuration that only its driver knows."""
    opaque, here = item.get("opaque"), f"{path}.opaque"
    if opaque is None:
        return [fields.required(here)]
    found = check_driver(f"{here}.driver", opaque.get("driver") or "")
    return found + check_data(f"{here}.parameters", opaque.get("parameters"), stored=stored)
