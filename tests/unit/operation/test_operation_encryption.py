"""Ciphers, transformers and the configuration of encryption at rest."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from kumo.kubernetes.apiserver.encryption import EncryptionError
from kumo.kubernetes.apiserver.encryption.ciphers import DecryptError, cipher_of
from kumo.kubernetes.apiserver.encryption.configuration import Key, Part, Provider, load
from kumo.kubernetes.apiserver.encryption.transformer import Transformer, Transformers

pytestmark = pytest.mark.unit
BOUND = b"/registry/core/secrets/n/s"
KINDS = ("aescbc", "aesgcm", "secretbox")


def keyed(kind: str, *names: str) -> Provider:
    return Provider(kind, tuple(Key(name, name[-1].encode() * 32) for name in names))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 5000])
def test_there_and_back(kind: str, size: int) -> None:
    cipher = cipher_of(kind, b"k" * 32)
    data = b"x" * size
    made = cipher.encrypt(data, BOUND)
    assert made != cipher.encrypt(data, BOUND), "the same text is never stored twice alike"
    assert cipher.decrypt(made, BOUND) == data
    with pytest.raises(DecryptError):
        cipher.decrypt(made[:5], BOUND)


@pytest.mark.parametrize("kind", ["aesgcm", "secretbox"])
def test_changes_are_noticed(kind: str) -> None:
    cipher = cipher_of(kind, b"k" * 32)
    made = bytearray(cipher.encrypt(b"text", BOUND))
    made[-1] ^= 1
    with pytest.raises(DecryptError):
        cipher.decrypt(bytes(made), BOUND)


def test_gcm_is_bound_to_the_objects_key() -> None:
    cipher = cipher_of("aesgcm", b"k" * 32)
    with pytest.raises(DecryptError, match="cipher: message authentication failed"):
        cipher.decrypt(cipher.encrypt(b"text", BOUND), b"/registry/core/secrets/n/other")


def test_a_known_value_is_read() -> None:
    """AES-CBC made by another implementation (openssl enc -aes-256-cbc)."""
    sealed = bytes(16) + bytes.fromhex("ee369689c78f2aff4931a319c2859553")
    assert cipher_of("aescbc", b"k" * 32).decrypt(sealed, b"") == b'{"a":1}'


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_key_writes_and_all_read(kind: str) -> None:
    old, new = Transformer([keyed(kind, "key1")]), Transformer([keyed(kind, "key2", "key1"), Provider("identity")])
    stored = old.write(b"{}", BOUND)
    assert stored.startswith(f"k8s:enc:{kind}:v1:key1:".encode())
    assert new.read(stored, BOUND) == (b"{}", f"k8s:enc:{kind}:v1:key1:".encode())
    assert new.write(b"{}", BOUND).startswith(new.writes) and new.writes.endswith(b":key2:")
    assert new.read(b"{}", BOUND) == (b"{}", b"")
    with pytest.raises(DecryptError, match="no matching key was found for the provided"):
        old.read(new.write(b"{}", BOUND), BOUND)
    with pytest.raises(DecryptError, match="no matching prefix found"):
        old.read(b"{}", BOUND)
    with pytest.raises(DecryptError, match="no matching prefix found"):
        Transformer([Provider("identity")]).read(stored, BOUND)


def test_the_first_part_that_names_a_resource_counts() -> None:
    parts = [
        Part(("secrets", "things.example.com"), (keyed("aescbc", "key1"),)),
        Part(("*.",), (keyed("aesgcm", "key1"),)),
        Part(("*.apps",), (keyed("secretbox", "key1"),)),
    ]
    found = Transformers(parts)

    def writes(group: str, resource: str) -> bytes:
        transformer = found.of(group, resource)
        return transformer.writes if transformer else b""

    assert b"aescbc" in writes("", "secrets") and b"aescbc" in writes("example.com", "things")
    assert b"aesgcm" in writes("", "configmaps")
    assert b"secretbox" in writes("apps", "deployments")
    assert writes("batch", "jobs") == b""
    assert b"key1" in (Transformers([Part(("*.*",), (keyed("aesgcm", "key1"),))]).of("batch", "jobs") or parts).writes  # type: ignore[union-attr]


SECRET = base64.b64encode(b"k" * 32).decode()
GOOD = {"aescbc": {"keys": [{"name": "key1", "secret": SECRET}]}}


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ([], "at least one resources is required"),
        ([{"resources": [], "providers": [GOOD]}], "at least one resources[0].resources is required"),
        ([{"resources": ["secrets"], "providers": []}], "at least one resources[0].providers is required"),
        ([{"resources": ["Secrets"], "providers": [GOOD]}], "capital letters"),
        ([{"resources": ["*"], "providers": [GOOD]}], "use '*.' to encrypt"),
        ([{"resources": ["secrets", "*.*"], "providers": [GOOD]}], "overlapping resources"),
        ([{"resources": ["secrets", "secrets"], "providers": [GOOD]}], "multiple times"),
        ([{"resources": ["secrets"], "providers": [{}]}], "does not contain any of the expected"),
        ([{"resources": ["secrets"], "providers": [{**GOOD, "identity": {}}]}], "more than one provider"),
        ([{"resources": ["secrets"], "providers": [{"aescbc": {"keys": []}}]}], "at least one keys is required"),
        ([{"resources": ["s"], "providers": [{"aescbc": {"keys": [{"secret": SECRET}]}}]}], "name is a mandatory"),
        ([{"resources": ["s"], "providers": [{"aescbc": {"keys": [{"name": "a"}]}}]}], "secret is a mandatory"),
        ([{"resources": ["s"], "providers": [{"aesgcm": {"keys": [{"name": "a", "secret": "%%"}]}}]}], "base64"),
        (
            [{"resources": ["s"], "providers": [{"secretbox": {"keys": [{"name": "a", "secret": "c2VrcmV0"}]}}]}],
            "got 6, expected one of [32]",
        ),
    ],
)
def test_what_is_wrong_is_said_without_showing_a_key(tmp_path: Path, parts: list[Any], why: str) -> None:
    path = tmp_path / "enc.yaml"
    document = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration", "resources": parts}
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(EncryptionError) as found:
        load(path)
    assert why in str(found.value)
    assert SECRET not in str(found.value) and "c2VrcmV0" not in str(found.value)


def test_a_good_file(tmp_path: Path) -> None:
    path = tmp_path / "enc.yaml"
    parts = [{"resources": ["secrets"], "providers": [GOOD, {"identity": {}}]}]
    document = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration", "resources": parts}
    path.write_text(yaml.safe_dump(document))
    assert load(path) == (Part(("secrets",), (Provider("aescbc", (Key("key1", b"k" * 32),)), Provider("identity"))),)
