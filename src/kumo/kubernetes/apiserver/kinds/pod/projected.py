"""Volumes made of files out of the API: keys, fields of the pod, tokens, certificates."""

from __future__ import annotations

import re
from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.kubernetes.apiserver.kinds.pod.environment import VOLUME_FIELDS, validate_field_ref, validate_resource_ref
from kumo.kubernetes.apiserver.kinds.pod.paths import unreserved
from kumo.kubernetes.apiserver.kinds.selector_validation import validate_label_selector

_MODE = "must be a number between 0 and 0777 (octal), both inclusive"
_TWICE = "conflicting duplicate paths"
_PARTS = ("secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle", "podCertificate")
_SHORTEST, _LONGEST = 600, 1 << 32
Source = dict[str, Any]


def check_mode(path: str, mode: int | None, found: list[Cause]) -> None:
    """Permission bits."""
    if mode is not None and not 0 <= mode <= 0o777:
        found.append(fields.invalid(path, mode, _MODE))


def validate_items(path: str, source: Source, found: list[Cause]) -> None:
    """Keys that become files."""
    for index, item in enumerate(source.get("items") or ()):
        here = f"{path}.items[{index}]"
        if not item.get("key"):
            found.append(fields.required(f"{here}.key"))
        if not item.get("path"):
            found.append(fields.required(f"{here}.path"))
        else:
            found += unreserved(f"{here}.path", item["path"])
        check_mode(f"{here}.mode", item.get("mode"), found)


def validate_downward(path: str, source: Source, found: list[Cause]) -> None:
    """Fields and resources of the pod that become files."""
    for item in source.get("items") or ():
        where = item.get("path") or ""
        if not where:
            found.append(fields.required(f"{path}.path"))
        found += unreserved(f"{path}.path", where)
        field, resource = item.get("fieldRef"), item.get("resourceFieldRef")
        if field is not None:
            found += validate_field_ref(f"{path}.fieldRef", field, VOLUME_FIELDS)
            if resource is not None:
                detail = "fieldRef and resourceFieldRef can not be specified simultaneously"
                found.append(fields.invalid(path, "resource", detail))
        elif resource is not None:
            found += validate_resource_ref(f"{path}.resourceFieldRef", resource, container_needed=True)
        else:
            found.append(fields.required(path, "one of fieldRef and resourceFieldRef is required"))
        check_mode(f"{path}.mode", item.get("mode"), found)


def validate_projected(path: str, source: Source, found: list[Cause]) -> None:
    """A projected volume."""
    check_mode(f"{path}.defaultMode", source.get("defaultMode"), found)
    taken: set[str] = set()
    for index, part in enumerate(source.get("sources") or ()):
        here = f"{path}.sources[{index}]"
        kinds = [kind for kind in _PARTS if part.get(kind) is not None]
        for kind in kinds:
            value = part[kind]
            if kind in ("secret", "configMap"):
                if not value.get("name"):
                    found.append(fields.required(f"{here}.{kind}.name"))
                validate_items(f"{here}.{kind}", value, found)
                _claim_paths(path, value, taken, value.get("name") or "", found)
            elif kind == "downwardAPI":
                validate_downward(f"{here}.{kind}", value, found)
                _claim_paths(path, value, taken, None, found)
            elif kind == "serviceAccountToken":
                _token(path, f"{here}.{kind}", value, found)
            elif kind == "clusterTrustBundle":
                _bundle(path, f"{here}.{kind}", value, taken, found)
            # A podCertificate is dropped before: an alpha field.
        if len(kinds) > 1:
            found.append(fields.forbidden(here, "may not specify more than 1 volume type per source"))


def _claim_paths(path: str, source: Source, taken: set[str], shown: str | None, found: list[Cause]) -> None:
    for item in source.get("items") or ():
        where = item.get("path")
        if where:
            if where in taken:
                found.append(fields.invalid(path, where if shown is None else shown, _TWICE))
            taken.add(where)


def _token(path: str, here: str, source: Source, found: list[Cause]) -> None:
    seconds = source.get("expirationSeconds")
    if seconds is not None and not _SHORTEST <= seconds <= _LONGEST:
        short = "may not specify a duration less than 10 minutes"
        detail = short if seconds < _SHORTEST else "may not specify a duration larger than 2^32 seconds"
        found.append(fields.invalid(f"{here}.expirationSeconds", seconds, detail))
    if not source.get("path"):
        found.append(fields.required(f"{path}.path"))
    else:
        found += unreserved(f"{path}.path", source["path"])


def _bundle(path: str, here: str, source: Source, taken: set[str], found: list[Cause]) -> None:
    name, signer, where = source.get("name"), source.get("signerName"), source.get("path") or ""
    if name is not None and signer is not None:
        found.append(fields.invalid(here, _shown(source), "only one of name and signerName may be used"))
    elif name is not None:
        if not name:
            found.append(fields.required(f"{here}.name", "must be a valid object name"))
        found += fields.each(
            f"{here}.name", name, (f"not a valid clustertrustbundlename: {t}" for t in _bundle_name(name))
        )
        if source.get("labelSelector") is not None:
            detail = "labelSelector must be unset if name is specified"
            found.append(fields.invalid(f"{here}.labelSelector", source["labelSelector"], detail))
    elif signer is not None:
        if not signer:
            found.append(fields.required(f"{here}.signerName", "must be a valid signer name"))
        found += check_signer_name(f"{here}.signerName", signer)
        found += validate_label_selector(f"{here}.labelSelector", source.get("labelSelector"))
    else:
        found.append(fields.required(here, "either name or signerName must be specified"))
    if not where:
        found.append(fields.required(f"{here}.path"))
    found += unreserved(f"{here}.path", where)
    if where in taken:
        found.append(fields.invalid(path, where, _TWICE))
    taken.add(where)


def _shown(source: Source) -> dict[str, Any]:
    keys = ("Name", "SignerName", "LabelSelector", "Optional", "Path")
    return {key: source.get(key[0].lower() + key[1:]) for key in keys}


def _bundle_name(name: str) -> list[str]:
    if ":" not in name:
        return names.check_subdomain(name)
    signer = name.rpartition(":")[0].replace(":", "/")
    return names.check_subdomain(name.rpartition(":")[2]) if signer else []


def check_signer_name(path: str, name: str) -> list[Cause]:
    """The name of a signer of certificates: a domain, a slash, and a path of dotted segments."""
    if not name:
        return [fields.required(path)]
    parts = name.split("/")
    if len(parts) != 2:
        detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        return [fields.invalid(path, name, detail)]
    found = [fields.invalid(path, parts[0], text) for text in names.check_subdomain(parts[0])]
    if "." not in parts[0]:
        found.append(fields.invalid(path, parts[0], "should be a domain with at least two segments separated by dots"))
    segment = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
    if not re.fullmatch(rf"{segment}(\.{segment})*", parts[1]):
        found += [fields.invalid(path, parts[1], text) for text in names.check_subdomain(parts[1])]
    return found
