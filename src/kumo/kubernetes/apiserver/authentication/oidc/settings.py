"""What one identity provider is told by: its address, its audiences, and how its claims become a user. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from cryptography import x509

ALGORITHMS = ("ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512")


class SettingsError(ValueError):
    """What is wrong with the configuration, one line for each fault."""


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """One issuer of identity tokens.

    Of claim and expression (CEL over `claims`) one makes the user's name, groups and uid; a prefix goes with a claim.
    `claim_rules` and `user_rules` are pairs of a CEL expression and what to say when it is false. `ca` is PEM text,
    empty for the CAs of the system.
    """

    issuer: str
    audiences: tuple[str, ...]
    discovery_url: str = ""
    ca: str = ""
    algorithms: tuple[str, ...] = ("RS256",)
    username_claim: str = "sub"
    username_prefix: str = ""
    username_expression: str = ""
    groups_claim: str = ""
    groups_prefix: str = ""
    groups_expression: str = ""
    uid_claim: str = ""
    uid_expression: str = ""
    extra: tuple[tuple[str, str], ...] = ()
    required_claims: Mapping[str, str] = field(default_factory=dict)
    claim_rules: tuple[tuple[str, str], ...] = ()
    user_rules: tuple[tuple[str, str], ...] = ()


def from_flags(
    issuer: str,
    client_id: str,
    *,
    username_claim: str = "sub",
    username_prefix: str = "",
    groups_claim: str = "",
    groups_prefix: str = "",
    ca: str = "",
    algorithms: tuple[str, ...] = ("RS256",),
    required_claims: Mapping[str, str] | None = None,
) -> ProviderSettings:
    """The provider that kube-apiserver's `--oidc-*` flags describe. Raises SettingsError.

    Without a prefix names get `ISSUER#` before them, unless they are e-mail addresses; `-` stands for none.
    """
    if username_prefix == "-":
        prefix = ""
    elif username_prefix or username_claim == "email":
        prefix = username_prefix
    else:
        prefix = f"{issuer}#"
    made = ProviderSettings(
        issuer,
        (client_id,) if client_id else (),
        ca=ca,
        algorithms=algorithms or ("RS256",),
        username_claim=username_claim,
        username_prefix=prefix,
        groups_claim=groups_claim,
        groups_prefix=groups_prefix,
        required_claims=dict(required_claims or {}),
    )
    faults = list(check(made, "oidc"))
    if faults:
        raise SettingsError("\n".join(faults))
    return made


def check(settings: ProviderSettings, where: str) -> Iterator[str]:
    """What is wrong with the provider, each with its place below `where`."""
    yield from _url_faults(settings.issuer, f"{where}.issuer.url")
    if settings.discovery_url:
        yield from _url_faults(settings.discovery_url, f"{where}.issuer.discoveryURL")
        if settings.discovery_url.rstrip("/") == settings.issuer.rstrip("/"):
            yield f"{where}.issuer.discoveryURL: Invalid value: {settings.discovery_url!r}: must be different from URL"
    if not settings.audiences:
        yield f"{where}.issuer.audiences: Required value: at least one {where}.issuer.audiences is required"
    if settings.ca:
        try:
            x509.load_pem_x509_certificates(settings.ca.encode())
        except ValueError as error:
            yield f"{where}.issuer.certificateAuthority: Invalid value: no PEM certificates: {error}"
    for name in settings.algorithms:
        if name not in ALGORITHMS:
            yield f'{where}: unsupported signing alg: "{name}"; supported: {", ".join(ALGORITHMS)}'
    if bool(settings.username_claim) == bool(settings.username_expression):
        yield f"{where}.claimMappings.username: Required value: exactly one of claim and expression is required"
    for part in ("groups", "uid"):
        if getattr(settings, f"{part}_claim") and getattr(settings, f"{part}_expression"):
            yield f"{where}.claimMappings.{part}: Invalid value: claim and expression can't both be set"
    keys = [key for key, _ in settings.extra]
    for key in keys:
        domain = key.partition("/")[0]
        if "/" not in key or key != key.lower():
            yield f"{where}.claimMappings.extra: Invalid value: {key!r}: must be a lowercase domain-prefixed path"
        elif domain in ("k8s.io", "kubernetes.io") or domain.endswith((".k8s.io", ".kubernetes.io")):
            yield (
                f"{where}.claimMappings.extra: Invalid value: {key!r}: "
                "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use"
            )
    for key in {key for key in keys if keys.count(key) > 1}:
        yield f"{where}.claimMappings.extra: Duplicate value: {key!r}"


def _url_faults(url: str, where: str) -> Iterator[str]:
    if not url:
        yield f"{where}: Required value: URL is required"
        return
    try:
        parts = urlsplit(url)
    except ValueError as error:
        yield f"{where}: Invalid value: {url!r}: {error}"
        return
    if parts.scheme != "https":
        yield f"{where}: Invalid value: {url!r}: URL scheme must be https"
    if parts.username or parts.password:
        yield f"{where}: Invalid value: {url!r}: URL must not contain a username or password"
    if parts.query:
        yield f"{where}: Invalid value: {url!r}: URL must not contain a query"
    if parts.fragment:
        yield f"{where}: Invalid value: {url!r}: URL must not contain a fragment"
