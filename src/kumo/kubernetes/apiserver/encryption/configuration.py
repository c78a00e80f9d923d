"""Reading an EncryptionConfiguration: what is wrong with it is said in upstream's words, and never shows a key."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kumo.api import fields
from kumo.api.durations import go_duration
from kumo.api.errors import Cause
from kumo.kubernetes.apiserver.encryption import EncryptionError
from kumo.kubernetes.apiserver.encryption.plugin import Plugin

_AES = (16, 24, 32)
_LENGTHS = {"aesgcm": _AES, "aescbc": _AES, "secretbox": (32,)}
_PROVIDERS = ("kms", *_LENGTHS, "identity")


@dataclass(frozen=True, slots=True)
class Key:
    """A key by its name in the file."""

    name: str
    secret: bytes


@dataclass(frozen=True, slots=True)
class Provider:
    """One provider: aescbc, aesgcm or secretbox with its keys (the first writes), kms with its plugin, or identity."""

    kind: str
    keys: tuple[Key, ...] = ()
    plugin: Plugin | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """The providers of some resources: the first writes, all read."""

    resources: tuple[str, ...]
    providers: tuple[Provider, ...]

    def covers(self, group: str, resource: str) -> bool:
        """Whether the part is about the resource."""
        name = f"{resource}.{group}" if group else resource
        return any(wanted in ("*.*", f"*.{group}", name) for wanted in self.resources)


def load(path: Path) -> tuple[Part, ...]:
    """The parts of the file, in order. Raises EncryptionError."""
    try:
        document = yaml.safe_load(path.read_text())
    except OSError as error:
        raise EncryptionError(f"the encryption configuration {path} can't be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError):
        # The parser's own words quote the text, which may be a key.
        raise EncryptionError(f"the encryption configuration {path} is not YAML") from None
    wrong = _wrong_with(document)
    if wrong:
        raise EncryptionError(f"the encryption configuration {path} can't be used: {wrong}")
    return tuple(
        Part(tuple(part["resources"]), tuple(_provider(provider) for provider in part["providers"]))
        for part in document["resources"]
    )


def _provider(found: dict[str, Any]) -> Provider:
    kind, value = next(iter(found.items()))
    if kind == "kms":
        timeout = go_duration(value["timeout"]) if value.get("timeout") else 3.0
        return Provider(kind, plugin=Plugin(value["name"], value["endpoint"], timeout))
    keys = (value or {}).get("keys") or ()
    return Provider(kind, tuple(Key(k["name"], base64.b64decode(k["secret"])) for k in keys))


def _wrong_with(document: Any) -> str:
    if not isinstance(document, dict):
        return "it is not an object"
    version, kind = document.get("apiVersion"), document.get("kind")
    if (version, kind) != ("apiserver.config.k8s.io/v1", "EncryptionConfiguration"):
        return (
            "it must be of apiVersion apiserver.config.k8s.io/v1 and kind EncryptionConfiguration, "
            f"not {version} and {kind}"
        )
    parts = document.get("resources")
    if not isinstance(parts, list) or not parts:
        return "resources: Required value: at least one resources is required"
    found: list[Cause] = []
    for index, part in enumerate(parts):
        found += _check_part(f"resources[{index}]", part)
    if not found:
        found = _check_plugin_names(parts)
    return "; ".join(f"{cause.field}: {cause.message}" for cause in found)


def _check_plugin_names(parts: list[Any]) -> list[Cause]:
    found: list[Cause] = []
    names: set[str] = set()
    for index, part in enumerate(parts):
        for at, provider in enumerate(part["providers"]):
            name = provider["kms"]["name"] if "kms" in provider else ""
            if name in names:
                why = f"duplicate KMS provider name {name}, names must be unique"
                found.append(fields.invalid(f"resources[{index}].providers[{at}].kms.name", name, why))
            names |= {name} - {""}
    return found


def _check_part(here: str, part: Any) -> list[Cause]:
    if not isinstance(part, dict):
        return [fields.invalid(here, "", "must be an object with resources and providers")]
    found: list[Cause] = []
    resources, providers = part.get("resources"), part.get("providers")
    path = f"{here}.resources"
    if not isinstance(resources, list) or not resources or not all(isinstance(r, str) for r in resources):
        found.append(fields.required(path, f"at least one {path} is required"))
    else:
        found += _check_resources(path, resources)
    path = f"{here}.providers"
    if not isinstance(providers, list) or not providers:
        return [*found, fields.required(path, f"at least one {path} is required")]
    for index, provider in enumerate(providers):
        found += _check_provider(f"{path}[{index}]", provider)
    return found


def _check_resources(here: str, resources: list[str]) -> list[Cause]:
    found: list[Cause] = []
    for index, name in enumerate(resources):
        path = f"{here}[{index}]"
        resource, _, group = name.partition(".")
        wrong = ""
        if name != name.lower():
            wrong = "resource name should not contain capital letters"
        elif name == "*":
            wrong = "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources"
        elif name in ("apiserveripinfo", "serviceipallocations", "servicenodeportallocations"):
            wrong = "resources which do not have REST API/s cannot be encrypted"
        elif group == "events.k8s.io":
            wrong = (
                "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in "
                "the config file"
            )
        elif group == "extensions":
            wrong = "'extensions' group has been removed and cannot be used for encryption"
        elif group == "*" and resource != "*":
            wrong = "encrypting the same resource across groups is not supported"
        if wrong:
            found.append(fields.invalid(path, name, wrong))
    if len(set(resources)) < len(resources):
        found.append(fields.invalid(here, resources, "the same resource cannot be specified multiple times"))
    elif _overlap(resources):
        detail = (
            "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they "
            "will be masked"
        )
        found.append(fields.invalid(here, resources, detail))
    return found


def _overlap(resources: list[str]) -> bool:
    if "*.*" in resources:
        return len(resources) > 1
    whole = {name.partition(".")[2] for name in resources if name.startswith("*.")}
    return any(name.partition(".")[2] in whole and not name.startswith("*.") for name in resources)


def _check_provider(here: str, provider: Any) -> list[Cause]:
    known = [kind for kind in _PROVIDERS if isinstance(provider, dict) and kind in provider]
    if not known or len(provider) > len(known):
        detail = "provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity"
        return [fields.invalid(here, "REDACTED", detail)]
    if len(known) > 1:
        detail = "more than one provider specified in a single element, should split into different list elements"
        return [fields.invalid(here, "REDACTED", detail)]
    kind = known[0]
    if kind == "identity":
        return []
    if kind == "kms":
        return _check_kms(f"{here}.kms", provider[kind])
    keys = (provider[kind] or {}).get("keys") if isinstance(provider[kind], dict) else None
    path = f"{here}.{kind}.keys"
    if not isinstance(keys, list) or not keys:
        return [fields.required(path, "at least one keys is required")]
    found: list[Cause] = []
    for index, key in enumerate(keys):
        found += _check_key(f"{path}[{index}]", key, _LENGTHS[kind])
    return found


def _check_kms(here: str, found: Any) -> list[Cause]:
    if not isinstance(found, dict):
        return [fields.invalid(here, "", "must be an object with apiVersion, name and endpoint")]
    version, name, endpoint = (found.get(key) or "" for key in ("apiVersion", "name", "endpoint"))
    wrong: list[Cause] = []
    if not isinstance(name, str) or not name:
        wrong.append(fields.required(f"{here}.name", "name is a mandatory field for a provider"))
    elif ":" in name:
        wrong.append(fields.invalid(f"{here}.name", name, f"invalid KMS provider name {name}, must not contain ':'"))
    if found.get("timeout"):
        try:
            positive = go_duration(str(found["timeout"])) > 0
        except ValueError:
            positive = False
        if not positive:
            wrong.append(fields.invalid(f"{here}.timeout", found["timeout"], "timeout should be a positive value"))
    if not isinstance(endpoint, str) or not endpoint:
        wrong.append(fields.invalid(f"{here}.endpoint", "", "endpoint is a mandatory field for a kms"))
    elif not endpoint.startswith("unix://"):
        scheme = endpoint.partition(":")[0] if ":" in endpoint else ""
        why = f'unsupported scheme "{scheme}" for KMS provider, only unix is supported'
        wrong.append(fields.invalid(f"{here}.endpoint", endpoint, why))
    if found.get("cachesize") is not None and version != "v1":
        wrong.append(fields.invalid(f"{here}.cachesize", found["cachesize"], "cachesize is not supported in v2"))
    if version in ("", "v1"):
        why = "KMSv1 is deprecated and not served; use KMSv2 (apiVersion: v2)"
        wrong.append(fields.invalid(f"{here}.apiVersion", version, why))
    elif version != "v2":
        why = "unsupported apiVersion apiVersion for KMS provider, only v1 and v2 are supported"
        wrong.append(fields.invalid(f"{here}.apiVersion", version, why))
    return wrong


def _check_key(here: str, key: Any, lengths: tuple[int, ...]) -> list[Cause]:
    name, secret = (key.get("name"), key.get("secret")) if isinstance(key, dict) else (None, None)
    found: list[Cause] = []
    if not isinstance(name, str) or not name:
        found.append(fields.required(f"{here}.name", "name is a mandatory field for a key"))
    if not isinstance(secret, str) or not secret:
        return [*found, fields.required(f"{here}.secret", "secret is a mandatory field for a key")]
    try:
        length = len(base64.b64decode(secret, validate=True))
    except (binascii.Error, ValueError):
        return [*found, fields.invalid(f"{here}.secret", "REDACTED", "secrets must be base64 encoded")]
    if length not in lengths:
        listed = " ".join(map(str, lengths))
        detail = f"secret is not of the expected length, got {length}, expected one of [{listed}]"
        found.append(fields.invalid(f"{here}.secret", "REDACTED", detail))
    return found
