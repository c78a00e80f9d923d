"""Names and labels: what is allowed, and upstream's exact words for what is not (`apimachinery/pkg/util/validation`).

Each `check_*` returns the list of complaints, empty for a good name.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from functools import lru_cache, wraps

LABEL_LENGTH = 63
SUBDOMAIN_LENGTH = 253

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_LABEL_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_WILDCARD = rf"\*\.{_SUBDOMAIN}"
_WILDCARD_TEXT = (
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of "
    "lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character"
)
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = f"({_QUALIFIED})?"
_CONFIG_KEY = "[-._a-zA-Z0-9]+"
_is_config_key = re.compile(_CONFIG_KEY).fullmatch
_HEADER = "[-A-Za-z0-9]+"
_UNDERSCORED = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SEARCH = rf"{_UNDERSCORED}(\.{_UNDERSCORED})*"

_LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
    "and must start and end with an alphanumeric character"
)
_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character"
)
_LABEL_1035_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', "
    "start with an alphabetic character, and end with an alphanumeric character"
)
_QUALIFIED_TEXT = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
)
_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character"
)
_CONFIG_TEXT = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
_ENV_TEXT = "a valid environment variable name must consist only of printable ASCII characters other than '='"


def regex_error(message: str, pattern: str, *examples: str) -> str:
    """The complaint about a text that does not match, with examples and the pattern."""
    if not examples:
        return f"{message} (regex used for validation is '{pattern}')"
    listed = " or ".join(f"'{example}', " for example in examples)
    return f"{message} (e.g. {listed}regex used for validation is '{pattern}')"


def max_length_error(length: int, unit: str = "characters") -> str:
    """The complaint about a text that is too long; label keys and values count `bytes`, other names `characters`."""
    return f"must be no more than {length} {unit}"


def _matches(pattern: str, text: str) -> bool:
    return re.fullmatch(pattern, text) is not None


def _remembered(check: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    """The check, quick for names seen before: the same few are checked with every write."""
    known = lru_cache(maxsize=4096)(lambda name: tuple(check(name)))

    @wraps(check)
    def found(name: str) -> list[str]:
        wrong = known(name)
        return list(wrong) if wrong else []

    return found


@_remembered
def check_label(name: str) -> list[str]:
    """A DNS label of RFC 1123: at most 63 characters (namespaces, containers, volumes)."""
    errors = [max_length_error(LABEL_LENGTH)] if len(name) > LABEL_LENGTH else []
    if not _matches(_LABEL, name):
        if _matches(_SUBDOMAIN, name):
            errors.append("must not contain dots")
        else:
            errors.append(regex_error(_LABEL_TEXT, _LABEL, "my-name", "123-abc"))
    return errors


@_remembered
def check_subdomain(name: str) -> list[str]:
    """A DNS subdomain of RFC 1123: at most 253 characters (the names of most objects)."""
    errors = [max_length_error(SUBDOMAIN_LENGTH)] if len(name) > SUBDOMAIN_LENGTH else []
    if not _matches(_SUBDOMAIN, name):
        errors.append(regex_error(_SUBDOMAIN_TEXT, _SUBDOMAIN, "example.com"))
    return errors


def check_wildcard_subdomain(name: str) -> list[str]:
    """A DNS subdomain with `*` in place of its first label."""
    errors = [max_length_error(SUBDOMAIN_LENGTH)] if len(name) > SUBDOMAIN_LENGTH else []
    if not _matches(_WILDCARD, name):
        errors.append(regex_error(_WILDCARD_TEXT, _WILDCARD, "*.example.com"))
    return errors


@_remembered
def check_label_1035(name: str) -> list[str]:
    """A DNS label of RFC 1035, which starts with a letter (services)."""
    errors = [max_length_error(LABEL_LENGTH)] if len(name) > LABEL_LENGTH else []
    if not _matches(_LABEL_1035, name):
        errors.append(regex_error(_LABEL_1035_TEXT, _LABEL_1035, "my-name", "abc-123"))
    return errors


def check_path_segment(name: str) -> list[str]:
    """A name that is only a step in a URL path (roles and bindings: `system:node`)."""
    if name in (".", ".."):
        return [f"may not be '{name}'"]
    return [f"may not contain '{c}'" for c in ("/", "%") if c in name]


@_remembered
def check_qualified_name(name: str) -> list[str]:
    """A label or annotation key: an optional DNS prefix and a slash, then a name of at most 63 characters."""
    errors: list[str] = []
    prefix, slash, short = name.rpartition("/")
    if name.count("/") > 1:
        text = regex_error(_QUALIFIED_TEXT, _QUALIFIED, "MyName", "my.name", "123-abc")
        return [f"a valid label key {text} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"]
    if slash:
        if not prefix:
            errors.append("prefix part must be non-empty")
        else:
            errors += [
                f"prefix part {e.replace('characters', 'bytes', 1) if e.endswith(' characters') else e}"
                for e in check_subdomain(prefix)
            ]
    if not short:
        errors.append("name part must be non-empty")
    elif len(short) > LABEL_LENGTH:
        errors.append("name part " + max_length_error(LABEL_LENGTH, "bytes"))
    if not _matches(_QUALIFIED, short):
        errors.append("name part " + regex_error(_QUALIFIED_TEXT, _QUALIFIED, "MyName", "my.name", "123-abc"))
    return errors


@_remembered
def check_label_value(value: str) -> list[str]:
    """A label's value: at most 63 characters, may be empty."""
    errors = [max_length_error(LABEL_LENGTH, "bytes")] if len(value) > LABEL_LENGTH else []
    if not _matches(_LABEL_VALUE, value):
        errors.append(regex_error(_VALUE_TEXT, f"({_QUALIFIED})?", "MyValue", "my_value", "12345"))
    return errors


def check_config_key(key: str) -> list[str]:
    """A key of a config map's or secret's data."""
    if len(key) <= SUBDOMAIN_LENGTH and key[:1] != "." and _is_config_key(key):
        return []  # At once: an object may have tens of thousands.
    errors = [max_length_error(SUBDOMAIN_LENGTH)] if len(key) > SUBDOMAIN_LENGTH else []
    if not _matches(_CONFIG_KEY, key):
        errors.append(regex_error(_CONFIG_TEXT, _CONFIG_KEY, "key.name", "KEY_NAME", "key-name"))
    if key == ".":
        errors.append("must not be '.'")
    elif key == "..":
        errors.append("must not be '..'")
    elif key.startswith(".."):
        errors.append("must not start with '..'")
    return errors


@_remembered
def check_env_name(name: str) -> list[str]:
    """The name of a container's environment variable (relaxed as of 1.34: printable ASCII without `=`)."""
    if not name:
        return ["environment variable name must be non-empty"]
    return [_ENV_TEXT] if any(not 32 <= ord(c) < 127 or c == "=" for c in name) else []


@_remembered
def check_header_name(name: str) -> list[str]:
    """The name of an HTTP header."""
    text = "a valid HTTP header must consist of alphanumeric characters or '-'"
    return [] if _matches(_HEADER, name) else [regex_error(text, _HEADER, "X-Header-Name")]


@_remembered
def check_search_domain(name: str) -> list[str]:
    """A domain in a DNS search list: a subdomain that may have underscores."""
    errors = [max_length_error(SUBDOMAIN_LENGTH)] if len(name) > SUBDOMAIN_LENGTH else []
    if not _matches(_SEARCH, name):
        errors.append(regex_error(_SUBDOMAIN_TEXT.replace("'-' or", "'_', '-' or"), _SEARCH, "example.com"))
    return errors


@_remembered
def check_port_name(name: str) -> list[str]:
    """A port's name (IANA_SVC_NAME of RFC 6335): at most 15 of a-z, 0-9 and hyphen, with a letter."""
    errors = []
    if len(name) > 15:
        errors.append(max_length_error(15))
    if not _matches("[-a-z0-9]+", name):
        errors.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", name):
        errors.append("must contain at least one letter (a-z)")
    if "--" in name:
        errors.append("must not contain consecutive hyphens")
    if name and (name[0] == "-" or name[-1] == "-"):
        errors.append("must not begin or end with a hyphen")
    return errors


def check_port(number: int) -> list[str]:
    """A port number."""
    return [] if 1 <= number <= 65535 else ["must be between 1 and 65535, inclusive"]


_IP_TEXT = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
_CIDR_TEXT = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
_DOTTED = re.compile(r"\d{1,3}(\.\d{1,3}){3}")


def sloppy_ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address, also when its decimals have leading zeros; None for what is none (as Go's `ParseIPSloppy`)."""
    if _DOTTED.fullmatch(text):
        text = ".".join(str(int(part)) for part in text.split("."))
    if "%" in text:
        return None
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


@_remembered
def check_ip(text: str) -> list[str]:
    """An IPv4 or IPv6 address, in a form that is not ambiguous."""
    found = sloppy_ip(text)
    if found is None:
        return [_IP_TEXT]
    if found.version == 4 and str(found) != text:
        return ["must not have leading 0s"]
    if found.version == 6 and found.ipv4_mapped is not None:
        return ["must not be an IPv4-mapped IPv6 address"]
    return []


@_remembered
def check_cidr(text: str) -> list[str]:
    """An IPv4 or IPv6 network, in a form that is not ambiguous and without bits beyond the prefix."""
    address, slash, length = text.partition("/")
    found = sloppy_ip(address)
    if found is None or not slash or not re.fullmatch(r"\d{1,3}", length) or int(length) > found.max_prefixlen:
        return [_CIDR_TEXT]
    if (found.version == 4 and str(found) != address) or str(int(length)) != length:
        return ["must not have leading 0s in IP or prefix length"]
    if found.version == 6 and found.ipv4_mapped is not None:
        return ["must not have an IPv4-mapped IPv6 address"]
    if ipaddress.ip_network(f"{found}/{length}", strict=False).network_address != found:
        return ["must not have bits set beyond the prefix length"]
    return []


def ip_warning(text: str) -> str:
    """What a client should be told of an address that is valid but oddly written; empty if it is fine."""
    found = sloppy_ip(text)
    if found is None:
        return ""
    if (found.version == 4 and str(found) != text) or (found.version == 6 and found.ipv4_mapped is not None):
        return f'non-standard IP address "{text}" is invalid: use "{found}"'
    if str(found) != text:
        return f'IPv6 address "{text}" should be in RFC 5952 canonical format ("{found}")'
    return ""


def cidr_warnings(text: str) -> list[str]:
    """The same for a network."""
    if check_cidr(text) == [_CIDR_TEXT]:
        return []
    address, _, length = text.partition("/")
    found = sloppy_ip(address)
    assert found is not None
    network = ipaddress.ip_network(f"{found}/{int(length)}", strict=False)
    told = []
    if network.network_address != found:
        alone = f"{found}/{found.max_prefixlen}"
        told.append(f'CIDR value "{text}" is ambiguous in this context (should be "{network}" or "{alone}"?)')
    if (str(found) != address and found.version == 4) or str(int(length)) != length:
        told.append(f'non-standard CIDR value "{text}" is invalid: use "{network}"')
    elif not told and f"{found}/{int(length)}" != text:
        told.append(f'IPv6 CIDR value "{text}" should be in RFC 5952 canonical format ("{found}/{int(length)}")')
    return told


def require_label_key(key: str) -> None:
    """Refuse what is no label key. Raises ValueError in the words of upstream's selector parser."""
    if errors := check_qualified_name(key):
        raise ValueError(f'key: Invalid value: "{key}": {"; ".join(errors)}')


def require_label_value(value: str, key: str) -> None:
    """Refuse what is no label value. Raises ValueError in the words of upstream's selector parser."""
    if errors := check_label_value(value):
        raise ValueError(f'values[0][{key}]: Invalid value: "{value}": {"; ".join(errors)}')
