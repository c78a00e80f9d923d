"""Names that devices, drivers, pools and their attributes may have, and what checks of lists have in common."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause

LONGEST_DATA = 10 * 1024
_LONGEST_DRIVER = 63
_LONGEST_ID = 32
_LONGEST_POOL = 253
_IDENTIFIER = "[A-Za-z_][A-Za-z0-9_]*"
_IDENTIFIER_TEXT = (
    "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters "
    "or '_'"
)
_NATIVE = "kubernetes.io/"

Check = Callable[[str, Any], list[Cause]]


def each_item(path: str, items: Sequence[Any] | None, most: int, check: Check) -> list[Cause]:
    """What is wrong with a list's items; of a list that is too long only that (`most` below 0: any length)."""
    items = items or ()
    if 0 <= most < len(items):
        return [fields.too_many(path, len(items), most)]
    return [cause for index, item in enumerate(items) for cause in check(f"{path}[{index}]", item)]


def each_unique(
    path: str,
    items: Sequence[Any] | None,
    most: int,
    check: Check,
    key: Callable[[Any], Hashable] = lambda item: item,
) -> list[Cause]:
    """As `each_item`, and no two items have the same key."""
    items = items or ()
    if 0 <= most < len(items):
        return [fields.too_many(path, len(items), most)]
    found = each_item(path, items, -1, check)
    seen: set[Hashable] = set()
    for index, item in enumerate(items):
        found += [fields.duplicate(f"{path}[{index}]", key(item))] if key(item) in seen else []
        seen.add(key(item))
    return found


def check_driver(path: str, driver: str) -> list[Cause]:
    """The name of a driver."""
    if not driver:
        return [fields.required(path)]
    found = [fields.too_long(path, _LONGEST_DRIVER)] if len(driver.encode()) > _LONGEST_DRIVER else []
    return found + fields.each(path, driver, names.check_subdomain(driver.lower()))


def check_pool(path: str, pool: str) -> list[Cause]:
    """The name of a pool: one or more subdomains with slashes between."""
    if not pool:
        return [fields.required(path)]
    found = [fields.too_long(path, _LONGEST_POOL)] if len(pool.encode()) > _LONGEST_POOL else []
    for part in pool.split("/"):
        found += fields.each(path, part, names.check_subdomain(part))
    return found


def check_label(path: str, name: str) -> list[Cause]:
    """A DNS label: names of devices, requests, counters."""
    return fields.each(path, name, names.check_label(name))


def check_needed_label(path: str, name: str) -> list[Cause]:
    """A DNS label that has to be there."""
    return check_label(path, name) if name else [fields.required(path)]


def check_node(path: str, name: str) -> list[Cause]:
    """The name of a node."""
    return fields.each(path, name, names.check_subdomain(name))


def check_attribute_name(path: str, name: str) -> list[Cause]:
    """The name of an attribute or a capacity: an identifier, perhaps with a domain before it."""
    parts = name.split("/")
    if len(parts) == 1:
        return _identifier(path, name)
    if len(parts) > 2:
        return []  # Upstream lets them pass.
    domain, rest = parts
    found = check_driver(path, domain) if domain else [fields.invalid(path, "", "the domain must not be empty")]
    return found + (_identifier(path, rest) if rest else [fields.invalid(path, "", "the name must not be empty")])


def check_full_attribute_name(path: str, name: str) -> list[Cause]:
    """The name of an attribute with its domain."""
    found = check_attribute_name(path, name)
    if "/" not in name:
        detail = "a fully qualified name must be a domain and a name separated by a slash"
        found.append(fields.invalid(path, name, detail))
    return found


def _identifier(path: str, text: str) -> list[Cause]:
    found = [fields.too_long(path, _LONGEST_ID)] if len(text.encode()) > _LONGEST_ID else []
    if not re.fullmatch(_IDENTIFIER, text):
        why = names.regex_error(_IDENTIFIER_TEXT, _IDENTIFIER, "my_name", "MY_NAME", "MyName")
        found.append(fields.invalid(path, text, why))
    return found


def check_share(path: str, text: str) -> list[Cause]:
    """The id of a share: a UUID in its usual form."""
    if re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text):
        return []
    plain = text.lower().removeprefix("urn:uuid:")
    plain = plain[1:-1] if len(text) == 38 else plain
    if re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}", plain):
        form = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"
        why = f"uid must be in RFC 4122 normalized form, `{form}` with lowercase hexadecimal characters"
        return [fields.invalid(path, text, why)]
    problem = "invalid UUID format" if len(text) in (32, 36, 38, 45) else f"invalid UUID length: {len(text)}"
    return [fields.invalid(path, text, f"error validating uid: {problem}")]


def check_data(path: str, data: Any, *, stored: bool = False) -> list[Cause]:
    """Free data, which has to be a JSON object of no more than 10 KiB; `stored`: it may be longer."""
    if data is None:
        return [fields.required(path)]
    if not stored and len(json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode()) > LONGEST_DATA:
        return [fields.too_long(path, LONGEST_DATA)]
    return [] if isinstance(data, dict) else [fields.invalid(path, "<value omitted>", "must be a valid JSON object")]


def check_resource_name(path: str, name: str) -> list[Cause]:
    """The name of an extended resource."""
    native = "/" not in name or _NATIVE in name
    if native or name.startswith("requests.") or names.check_qualified_name(f"requests.{name}"):
        return [fields.invalid(path, name, "must be a valid extended resource name")]
    return []
