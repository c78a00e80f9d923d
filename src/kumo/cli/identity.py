"""Who may sign in: OpenID Connect issuers by `kumo up`'s options or a file, kept in the data directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kumo.cli.instance import Instance, InstanceError

if TYPE_CHECKING:
    from kumo.cli.prepare import Pki
    from kumo.kubernetes.apiserver.authentication import AuthenticationConfig

FILE = "authentication.yaml"
FRONT_PROXY_NAME = "front-proxy-client"
_Command = TypeVar("_Command", bound=Callable[..., Any])


def options(command: _Command) -> _Command:
    """The options of `kumo up` about identity providers; they are remembered from start to start."""
    for option in reversed(
        (
            click.option(
                "--authentication-config",
                type=click.Path(exists=True, dir_okay=False, path_type=Path),
                help="File of kind AuthenticationConfiguration: identity providers and anonymous access. Remembered.",
            ),
            click.option("--oidc-issuer-url", default="", help="Accept the tokens of this OpenID Connect issuer."),
            click.option("--oidc-client-id", default="", help="The audience that its tokens must have."),
            click.option("--oidc-username-claim", default="sub", show_default=True, help="The claim with the name."),
            click.option("--oidc-username-prefix", default="", help="Put before names; - for nothing. [default: URL#]"),
            click.option("--oidc-groups-claim", default="", help="The claim with the groups."),
            click.option("--oidc-groups-prefix", default="", help="Put before groups."),
            click.option(
                "--oidc-ca-file",
                type=click.Path(exists=True, dir_okay=False, path_type=Path),
                help="The CA of the issuer's server.  [default: those of the system]",
            ),
            click.option("--oidc-required-claim", multiple=True, metavar="KEY=VALUE", help="Must be in every token."),
        )
    ):
        command = option(command)
    return command


def keep(root: Path, given: dict[str, Any]) -> None:
    """Check and remember what the options say; without any, what was remembered stays. Raises InstanceError."""
    file: Path | None = given["authentication_config"]
    issuer = given["oidc_issuer_url"]
    if file is None and not issuer:
        if any(given[name] for name in ("oidc_client_id", "oidc_groups_claim", "oidc_ca_file", "oidc_required_claim")):
            raise InstanceError("--oidc-... options need --oidc-issuer-url too")
        return
    if file is not None and issuer:
        raise InstanceError("--authentication-config and --oidc-issuer-url can't both be given; put both into the file")
    from kumo.kubernetes.apiserver.authentication.oidc.configuration import read_configuration
    from kumo.kubernetes.apiserver.authentication.oidc.settings import SettingsError

    text = file.read_text() if file is not None else _structured(given)
    fresh = root / f"{FILE}.new"
    root.mkdir(parents=True, exist_ok=True)
    fresh.write_text(text)
    try:
        read_configuration(fresh)
    except SettingsError as error:
        fresh.unlink()
        raise InstanceError(str(error).replace(str(fresh), str(file or "--oidc-..."))) from error
    fresh.replace(root / FILE)


def _structured(given: dict[str, Any]) -> str:
    """The options as the file that says the same."""
    import yaml

    from kumo.kubernetes.apiserver.authentication.oidc.settings import SettingsError, from_flags

    claims = dict(item.partition("=")[::2] for item in given["oidc_required_claim"])
    ca: Path | None = given["oidc_ca_file"]
    try:
        made = from_flags(
            given["oidc_issuer_url"],
            given["oidc_client_id"],
            username_claim=given["oidc_username_claim"],
            username_prefix=given["oidc_username_prefix"],
            groups_claim=given["oidc_groups_claim"],
            groups_prefix=given["oidc_groups_prefix"],
            ca=ca.read_text() if ca is not None else "",
            required_claims=claims,
        )
    except SettingsError as error:
        raise InstanceError(str(error)) from error
    issuer: dict[str, Any] = {"url": made.issuer, "audiences": list(made.audiences)}
    if made.ca:
        issuer["certificateAuthority"] = made.ca
    mappings: dict[str, Any] = {"username": {"claim": made.username_claim, "prefix": made.username_prefix}}
    if made.groups_claim:
        mappings["groups"] = {"claim": made.groups_claim, "prefix": made.groups_prefix}
    provider: dict[str, Any] = {"issuer": issuer, "claimMappings": mappings}
    if claims:
        provider["claimValidationRules"] = [{"claim": k, "requiredValue": v} for k, v in claims.items()]
    document = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": [provider]}
    return yaml.safe_dump(document, sort_keys=False)


def authentication(instance: Instance, pki: Pki) -> tuple[AuthenticationConfig, bool]:
    """How the API server of the instance knows its users, and whether anybody may come without proof."""
    from kumo.kubernetes.apiserver.authentication import AuthenticationConfig, FrontProxyConfig

    file = instance.root / FILE
    providers: tuple[Any, ...] = ()
    anonymous, paths = True, None
    if file.exists():
        from kumo.kubernetes.apiserver.authentication.oidc.configuration import read_configuration
        from kumo.kubernetes.apiserver.authentication.oidc.settings import SettingsError

        try:
            found = read_configuration(file)
        except SettingsError as error:
            raise InstanceError(f"{error}\nTo fix it: correct or remove {file}") from error
        providers = found.providers
        if found.anonymous is not None:
            anonymous, paths = found.anonymous.enabled, found.anonymous.paths
    config = AuthenticationConfig(
        client_ca=pki.ca,
        front_proxy=FrontProxyConfig(pki.front_proxy_ca, allowed_names=(FRONT_PROXY_NAME,)),
        account_keys=sorted((*instance.pki_dir.glob("sa-*.key"), *instance.pki_dir.glob("sa-*.pub"))),
        providers=providers,
        providers_file=file if file.exists() else None,
        anonymous_paths=paths,
    )
    return config, anonymous
