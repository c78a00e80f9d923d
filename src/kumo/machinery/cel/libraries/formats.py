"""Named formats (`format.dns1123Label().validate(self)`; k8s.io/apiserver/pkg/cel/library, format)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from kumo.api import names
from kumo.api.schema.formats import check_format
from kumo.machinery.cel import costs, types
from kumo.machinery.cel.errors import CelError
from kumo.machinery.cel.functions import Overload, overload
from kumo.machinery.cel.libraries.urls import Url
from kumo.machinery.cel.values import NOTHING, Optional, some

FORMAT_TYPE = types.struct("kubernetes.NamedFormat", {})
_NAMED: Mapping[str, types.Type] = {"format": FORMAT_TYPE}
LONGEST_PATTERN = 128
"""What estimates take for the length of a format's pattern."""


@dataclass(frozen=True, slots=True)
class Format:
    """A format: its check gives complaints; `pattern` is the length of its regular expression, for costs."""

    cel_type: ClassVar[types.Type] = FORMAT_TYPE
    name: str
    check: Callable[[str], list[str]]
    pattern: int


def _prefix(check: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    def masked(text: str) -> list[str]:
        return check(text[:-1] + "a" if len(text) > 1 and text.endswith("-") else text)

    return masked


def _by_schema(form: str, complaint: str) -> Callable[[str], list[str]]:
    return lambda text: [] if check_format(form, text) else [complaint]


def _uri(text: str) -> list[str]:
    try:
        Url(text)
    except CelError as error:
        return [error.message.partition(": ")[2]]
    return []


def _formats() -> dict[str, Format]:
    found = {
        "dns1123Label": Format("DNS1123Label", names.check_label, 30),
        "dns1123Subdomain": Format("DNS1123Subdomain", names.check_subdomain, 60),
        "dns1035Label": Format("DNS1035Label", names.check_label_1035, 30),
        "qualifiedName": Format("QualifiedName", names.check_qualified_name, 60),
        "labelValue": Format("LabelValue", names.check_label_value, 40),
        "uri": Format("URI", _uri, 1500),
        "uuid": Format("uuid", _by_schema("uuid", "does not match the UUID format"), 60),
        "byte": Format("byte", _by_schema("byte", "invalid base64"), 84),
        "date": Format("date", _by_schema("date", "invalid date"), 101),
        "datetime": Format("datetime", _by_schema("date-time", "invalid datetime"), 101),
    }
    for name in ("dns1123Label", "dns1123Subdomain", "dns1035Label"):
        base = found[name]
        found[f"{name}Prefix"] = Format(f"{base.name}Prefix", _prefix(base.check), base.pattern)
    return found


def _validate(found: Format, text: str) -> Optional[Any]:
    complaints = found.check(text)
    return some(complaints) if complaints else NOTHING


def _cost(args: Any, result: Any) -> int:
    return costs.factor((1.0 + len(args[1])) * costs.STRING_FACTOR) * costs.factor(args[0].pattern * costs.REGEX_FACTOR)


def overloads() -> list[Overload]:
    """Everything here."""
    known = _formats()

    def named(name: str) -> Optional[Any]:
        return some(known[name]) if name in known else NOTHING

    def put(function: str, line: str, code: Any, cost: Any = None) -> Overload:
        return overload(function, line, code, cost, by_name=True, named=_NAMED)

    found = [
        put("validate", "format-validate = format.(string) -> optional<list<string>>", _validate, _cost),
        put("format.named", "format-named = (string) -> optional<format>", named),
    ]
    for name, one in known.items():
        found.append(put(f"format.{name}", f"format.{name} = () -> format", lambda one=one: one))
    return found
