"""What an operator can set of admission."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kumo.kubernetes.apiserver.admission.pod_security.config import PodSecurityConfig, read_config


@dataclass(frozen=True, slots=True)
class LimitedResource:
    """Usage that some quota must cover (`apiserver.config.k8s.io`, ResourceQuotaConfiguration).

    Objects of `group` and `resource` may use names that contain one of `contains`, and match one of `scopes`, only
    where a quota counts them.
    """

    group: str
    resource: str
    contains: tuple[str, ...] = ()
    scopes: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class AdmissionConfig:
    """The ranges of services' addresses (CIDR) and node ports (first, last), and the plugins' configuration."""

    service_cidr: str = "10.96.0.0/16"
    node_ports: tuple[int, int] = (30000, 32767)
    pod_security: PodSecurityConfig = field(default_factory=PodSecurityConfig)
    limited_resources: tuple[LimitedResource, ...] = ()
    extended_resource_toleration: bool = False
    """Whether the plugin ExtendedResourceToleration runs (upstream: `--enable-admission-plugins`)."""


def plugin_options(value: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `AdmissionConfig` that an `AdmissionConfiguration` object sets.

    Knows PodSecurity, ResourceQuota, and ExtendedResourceToleration (which is on when it is named).
    Raises ValueError for an object of another kind and for an unknown plugin.
    """
    if value.get("kind") != "AdmissionConfiguration":
        raise ValueError(f"expected kind AdmissionConfiguration, got {value.get('kind')!r}")
    found: dict[str, Any] = {}
    for plugin in value.get("plugins") or ():
        name, settings = plugin.get("name"), plugin.get("configuration") or {}
        if name == "PodSecurity":
            found["pod_security"] = read_config(settings)
        elif name == "ResourceQuota":
            found["limited_resources"] = tuple(_limited(item) for item in settings.get("limitedResources") or ())
        elif name == "ExtendedResourceToleration":
            found["extended_resource_toleration"] = True
        else:
            raise ValueError(f"unknown admission plugin: {name!r}")
    return found


def _limited(item: Mapping[str, Any]) -> LimitedResource:
    return LimitedResource(
        item.get("apiGroup") or "",
        item.get("resource") or "",
        tuple(item.get("matchContains") or ()),
        tuple(dict(scope) for scope in item.get("matchScopes") or ()),
    )
