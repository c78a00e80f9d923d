"""The kinds of networking.k8s.io: ingress classes, and the rules of those that have modules of their own."""

from __future__ import annotations

import re
from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.api.objects import Object
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds.checks import set_default
from kumo.kubernetes.apiserver.kinds.ingresses import (
    check_ingress,
    check_ingress_status,
    check_ingress_update,
    check_reference,
    create_ingress,
    warn_ingress,
    warn_ingress_status,
)
from kumo.kubernetes.apiserver.kinds.network_policies import check_policy, default_policy, warn_policy
from kumo.kubernetes.apiserver.kinds.ranges import service_ranges
from kumo.kubernetes.apiserver.kinds.rules import Rules, at

_LONGEST_CONTROLLER = 250
_SCOPES = ("Cluster", "Namespace")
_HTTP_PATH = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"


def _default_class(obj: Object) -> None:
    parameters = at(obj, "spec.parameters")
    if parameters is not None:
        set_default(parameters, scope="Cluster")


def _check_class(obj: Object) -> list[Cause]:
    controller = at(obj, "spec.controller") or ""
    here = "spec.controller"
    found = [fields.too_long(here, _LONGEST_CONTROLLER)] if len(controller.encode()) > _LONGEST_CONTROLLER else []
    found += _domain_path(here, controller)
    parameters = at(obj, "spec.parameters")
    return found if parameters is None else found + _parameters("spec.parameters", parameters)


def _domain_path(path: str, text: str) -> list[Cause]:
    if not text:
        return [fields.required(path)]
    host, _, rest = text.partition("/")
    if not host or not rest:
        return [fields.invalid(path, text, 'must be a domain-prefixed path (such as "acme.io/foo")')]
    found = fields.each(path, host, names.check_subdomain(host))
    if not re.fullmatch(_HTTP_PATH, rest):
        found.append(fields.invalid(path, rest, names.regex_error("Invalid path", _HTTP_PATH)))
    return found


def _parameters(path: str, parameters: dict[str, Any]) -> list[Cause]:
    found = check_reference(path, parameters)
    scope, namespace, here = parameters.get("scope"), parameters.get("namespace"), f"{path}.namespace"
    if scope is None:
        found.append(fields.required(f"{path}.scope"))
    elif scope not in _SCOPES:
        found.append(fields.unsupported(f"{path}.scope", scope, _SCOPES))
    elif scope == "Namespace":
        if namespace is None:
            found.append(fields.required(here, "`parameters.scope` is set to 'Namespace'"))
        else:
            found += fields.each(here, namespace, names.check_label(namespace))
    elif namespace is not None:
        found.append(fields.forbidden(here, "`parameters.scope` is set to 'Cluster'"))
    return found


def _change_class(new: Object, old: Object) -> list[Cause]:
    fresh, stale = at(new, "spec.controller") or "", at(old, "spec.controller") or ""
    return [] if fresh == stale else [fields.immutable("spec.controller", fresh)]


def rules() -> dict[GVK, Rules]:
    """The rules of the kinds in this module."""

    def networking(kind: str) -> GVK:
        return GVK("networking.k8s.io", "v1", kind)

    return {
        networking("Ingress"): Rules(
            validate_create=lambda obj: check_ingress(obj) + create_ingress(obj),
            check_update=check_ingress_update,
            validate_status=check_ingress_status,
            warn=warn_ingress,
            warn_status=warn_ingress_status,
            revalidates=True,
            has_status=True,
            has_generation=True,
            on_create=lambda obj: obj.update(status={"loadBalancer": {}}),
        ),
        networking("IngressClass"): Rules(
            default=_default_class,
            validate=_check_class,
            validate_update=_change_class,
            revalidates=True,
            has_generation=True,
        ),
        networking("NetworkPolicy"): Rules(
            default=default_policy,
            validate_create=lambda obj: check_policy(obj, None),
            check_update=check_policy,
            warn=warn_policy,
            has_generation=True,
        ),
        **service_ranges(),
    }
