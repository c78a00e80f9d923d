"""What an operator can set of PodSecurity: the defaults, and who is exempt (`pod-security.admission.config.k8s.io`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from kumo.kubernetes.apiserver.admission.pod_security.policy import LevelVersion, Policy, parse_level, parse_version


@dataclass(frozen=True, slots=True)
class PodSecurityConfig:
    """`defaults` hold where a namespace has no label; nothing is asked of what is exempt."""

    defaults: Policy = field(default_factory=Policy)
    usernames: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()
    runtime_classes: frozenset[str] = frozenset()


def read_config(value: dict[str, Any]) -> PodSecurityConfig:
    """The configuration of a `PodSecurityConfiguration` object. Raises ValueError."""
    stated, exempt = value.get("defaults") or {}, value.get("exemptions") or {}
    modes = {}
    for mode in ("enforce", "audit", "warn"):
        try:
            level = parse_level(stated.get(mode) or "privileged")
            modes[mode] = LevelVersion(level, parse_version(stated.get(f"{mode}-version") or "latest"))
        except ValueError as error:
            raise ValueError(f"defaults.{mode}: Invalid value: {error}") from None
    return PodSecurityConfig(
        Policy(**modes),
        frozenset(exempt.get("usernames") or ()),
        frozenset(exempt.get("namespaces") or ()),
        frozenset(exempt.get("runtimeClasses") or ()),
    )
