"""The structured form: a file of kind AuthenticationConfiguration (apiserver.config.k8s.io/v1, KEP-3331)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kumo.kubernetes.apiserver.authentication.oidc.settings import (
    ALGORITHMS,
    ProviderSettings,
    SettingsError,
    check,
)

_VERSIONS = tuple(f"apiserver.config.k8s.io/{v}" for v in ("v1", "v1beta1", "v1alpha1"))


@dataclass(frozen=True, slots=True)
class AnonymousSettings:
    """Whether requests without proof are let in, and on which paths only (None: on all)."""

    enabled: bool = True
    paths: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the file says. `anonymous` is None when it says nothing of it."""

    providers: tuple[ProviderSettings, ...]
    anonymous: AnonymousSettings | None = None


def read_configuration(path: Path) -> Configuration:
    """Read the file (YAML or JSON). Raises SettingsError with every fault."""
    try:
        found = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{path}: can't be read: {error}") from error
    if not isinstance(found, dict) or found.get("kind") != "AuthenticationConfiguration":
        raise SettingsError(f"{path}: not an AuthenticationConfiguration")
    if found.get("apiVersion") not in _VERSIONS:
        raise SettingsError(f"{path}: apiVersion {found.get('apiVersion')!r} is none of {', '.join(_VERSIONS)}")
    faults: list[str] = []
    unknown = sorted(set(found) - {"apiVersion", "kind", "jwt", "anonymous"})
    faults += [f"unknown field {name!r}" for name in unknown]
    providers: list[ProviderSettings] = []
    for index, entry in enumerate(found.get("jwt") or ()):
        where = f"jwt[{index}]"
        try:
            made = _provider(entry, where)
        except (TypeError, AttributeError, KeyError) as error:
            faults.append(f"{where}: not of the right form: {error}")
            continue
        faults += check(made, where)
        if any(made.issuer == other.issuer for other in providers):
            faults.append(f"{where}.issuer.url: Duplicate value: {made.issuer!r}")
        providers.append(made)
    anonymous = _anonymous(found.get("anonymous"), faults)
    if faults:
        raise SettingsError("\n".join(f"{path}: {fault}" for fault in faults))
    return Configuration(tuple(providers), anonymous)


def _anonymous(found: Any, faults: list[str]) -> AnonymousSettings | None:
    if found is None:
        return None
    if not isinstance(found, dict) or not isinstance(found.get("enabled", False), bool):
        faults.append("anonymous: not of the right form")
        return None
    conditions = found.get("conditions")
    if conditions and not found.get("enabled"):
        faults.append("anonymous.conditions: Invalid value: enabled should be set to true when conditions are defined")
    paths = frozenset(c["path"] for c in conditions or () if isinstance(c, dict) and c.get("path")) or None
    return AnonymousSettings(bool(found.get("enabled")), paths)


def _provider(entry: dict[str, Any], where: str) -> ProviderSettings:
    issuer, mappings = entry["issuer"], entry.get("claimMappings") or {}
    username, groups, uid = (mappings.get(part) or {} for part in ("username", "groups", "uid"))
    rules = entry.get("claimValidationRules") or ()
    return ProviderSettings(
        issuer=issuer.get("url") or "",
        audiences=tuple(issuer.get("audiences") or ()),
        discovery_url=issuer.get("discoveryURL") or "",
        ca=issuer.get("certificateAuthority") or "",
        algorithms=ALGORITHMS,
        username_claim=username.get("claim") or "",
        username_prefix=username.get("prefix") or "",
        username_expression=username.get("expression") or "",
        groups_claim=groups.get("claim") or "",
        groups_prefix=groups.get("prefix") or "",
        groups_expression=groups.get("expression") or "",
        uid_claim=uid.get("claim") or "",
        uid_expression=uid.get("expression") or "",
        extra=tuple((e["key"], e["valueExpression"]) for e in mappings.get("extra") or ()),
        required_claims={r["claim"]: r.get("requiredValue") or "" for r in rules if r.get("claim")},
        claim_rules=tuple(_expressions(rules)),
        user_rules=tuple(_expressions(entry.get("userValidationRules") or ())),
    )


def _expressions(rules: Any) -> Iterator[tuple[str, str]]:
    for rule in rules:
        if rule.get("expression"):
            yield rule["expression"], rule.get("message") or ""
