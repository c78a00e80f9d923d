"""What `kumo up` keeps of its options about identity providers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kumo.cli.identity import FILE, keep
from kumo.cli.instance import InstanceError
from kumo.kubernetes.apiserver.authentication.oidc.configuration import read_configuration

pytestmark = pytest.mark.unit


def given(**options: Any) -> dict[str, Any]:
    """The options as click hands them over."""
    return {
        "authentication_config": None,
        "oidc_issuer_url": "",
        "oidc_client_id": "",
        "oidc_username_claim": "sub",
        "oidc_username_prefix": "",
        "oidc_groups_claim": "",
        "oidc_groups_prefix": "",
        "oidc_ca_file": None,
        "oidc_required_claim": (),
        **options,
    }


def test_options_become_the_file(tmp_path: Path) -> None:
    keep(
        tmp_path,
        given(
            oidc_issuer_url="https://login.example.com",
            oidc_client_id="kumo",
            oidc_groups_claim="teams",
            oidc_groups_prefix="oidc:",
            oidc_required_claim=("hd=example.com",),
        ),
    )
    (provider,) = read_configuration(tmp_path / FILE).providers
    assert (provider.issuer, provider.audiences) == ("https://login.example.com", ("kumo",))
    assert provider.username_prefix == "https://login.example.com#"
    assert (provider.groups_claim, provider.groups_prefix) == ("teams", "oidc:")
    assert provider.required_claims == {"hd": "example.com"}
    before = (tmp_path / FILE).read_text()
    keep(tmp_path, given())
    assert (tmp_path / FILE).read_text() == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"oidc_client_id": "x"}, "need --oidc-issuer-url"),
        ({"oidc_issuer_url": "http://x", "oidc_client_id": "x"}, "URL scheme must be https"),
        ({"oidc_issuer_url": "https://x"}, "audiences: Required value"),
    ],
)
def test_bad_options_change_nothing(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InstanceError) as refusal:
        keep(tmp_path, given(**options))
    assert words in str(refusal.value)
    assert not list(tmp_path.iterdir())


def test_a_bad_file_is_named_and_not_kept(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("kind: Other")
    root = tmp_path / "root"
    with pytest.raises(InstanceError) as refusal:
        keep(root, given(authentication_config=file))
    assert str(file) in str(refusal.value)
    assert not list(root.iterdir())
    both = given(authentication_config=file, oidc_issuer_url="https://x", oidc_client_id="y")
    with pytest.raises(InstanceError):
        keep(root, both)
