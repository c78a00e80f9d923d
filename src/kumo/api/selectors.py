"""Selectors: which labels and fields an object must have to be meant.

`matches` takes a `metav1.LabelSelector`, `matches_node_term` a term of `v1.NodeSelector`; a missing selector matches
nothing, an empty one everything, as upstream. `Selector` is what a query's `labelSelector` or `fieldSelector` says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from kumo.api import names

Labels = Mapping[str, str]


def matches(selector: Mapping[str, Any] | None, labels: Labels) -> bool:
    """Whether the labels satisfy a `metav1.LabelSelector` (`matchLabels` and `matchExpressions`)."""
    if selector is None:
        return False
    wanted = selector.get("matchLabels") or {}
    if any(labels.get(k) != v for k, v in wanted.items()):
        return False
    return all(_holds(e, labels) for e in selector.get("matchExpressions") or ())


def matches_map(selector: Labels | None, labels: Labels) -> bool:
    """Whether the labels hold every pair of an old-style selector (`Service.spec.selector`)."""
    return bool(selector) and all(labels.get(k) == v for k, v in (selector or {}).items())


def matches_node_term(term: Mapping[str, Any], labels: Labels, fields: Labels) -> bool:
    """Whether a node satisfies one `NodeSelectorTerm`; a term without any requirement matches no node."""
    expressions = term.get("matchExpressions") or ()
    field_expressions = term.get("matchFields") or ()
    if not expressions and not field_expressions:
        return False
    return all(_holds(e, labels) for e in expressions) and all(_holds(e, fields) for e in field_expressions)


def to_text(selector: Mapping[str, Any] | None) -> str:
    """The selector in the form that a query's `labelSelector` takes."""
    if not selector:
        return ""
    parts = [f"{k}={v}" for k, v in sorted((selector.get("matchLabels") or {}).items())]
    for expression in selector.get("matchExpressions") or ():
        key, values = expression["key"], ",".join(sorted(expression.get("values") or ()))
        form = {
            "In": f"{key} in ({values})",
            "NotIn": f"{key} notin ({values})",
            "Exists": key,
            "DoesNotExist": f"!{key}",
        }
        parts.append(form[expression["operator"]])
    return ",".join(parts)


def _holds(expression: Mapping[str, Any], labels: Labels) -> bool:
    key, operator = expression.get("key", ""), expression.get("operator", "")
    values = expression.get("values") or ()
    found = labels.get(key)
    if operator == "In":
        return found is not None and found in values
    if operator == "NotIn":
        return found is None or found not in values
    if operator == "Exists":
        return found is not None
    if operator == "DoesNotExist":
        return found is None
    return _compares(operator, found, values)


def _compares(operator: str, found: str | None, values: Any) -> bool:
    """`Gt` and `Lt` of node selectors: both sides are whole numbers, anything else does not match."""
    try:
        left, right = int(found or ""), int(values[0])
    except (ValueError, IndexError):
        return False
    return left > right if operator == "Gt" else operator == "Lt" and left < right


class Requirement(NamedTuple):
    """One condition: `operator` is `=`, `!=`, `in`, `notin`, `exists` or `!`; the values are sorted."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def holds(self, labels: Labels) -> bool:
        """Whether labels (or fields) satisfy it."""
        found = labels.get(self.key)
        if self.operator in ("=", "in"):
            return found is not None and found in self.values
        if self.operator in ("!=", "notin"):
            return found is None or found not in self.values
        return (found is not None) == (self.operator == "exists")

    def __str__(self) -> str:
        if self.operator in ("=", "!="):
            return f"{self.key}{self.operator}{self.values[0]}"
        if self.operator in ("in", "notin"):
            return f"{self.key} {self.operator} ({','.join(self.values)})"
        return self.key if self.operator == "exists" else f"!{self.key}"


@dataclass(frozen=True, slots=True)
class Selector:
    """Requirements that must all hold; hashable, so that equal selectors can be evaluated once. Empty: everything."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Labels) -> bool:
        """Whether the labels (or fields) satisfy every requirement."""
        return all(r.holds(labels) for r in self.requirements)

    def exact(self, key: str) -> str | None:
        """The one value that `key` must have, if the selector says so: what an index can be asked for."""
        for requirement in self.requirements:
            if requirement.key == key and requirement.operator in ("=", "in") and len(requirement.values) == 1:
                return requirement.values[0]
        return None

    def __bool__(self) -> bool:
        return bool(self.requirements)

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))


EVERYTHING = Selector()

_TOKEN = re.compile(r"\s*(?:(!=|==|=|!|,|\(|\)|>|<)|([^\s,()=!<>]+))")


def parse_label_selector(text: str) -> Selector:
    """The selector that a query's `labelSelector` writes. Raises ValueError in the words of upstream's parser.

    Forms: `k=v`, `k==v`, `k!=v`, `k in (a,b)`, `k notin (a,b)`, `k`, `!k`, joined by commas.
    """
    if not text.strip():
        return EVERYTHING
    return _remembered(text) if len(text) <= _REMEMBERED else _parse_labels(text)


def _parse_labels(text: str) -> Selector:
    return Selector(tuple(sorted(_Parser(text).requirements())))


_REMEMBERED = 1024
"""Longer selectors are not remembered: the memory that strangers can fill stays small."""
_remembered = lru_cache(maxsize=1024)(_parse_labels)


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens: list[str] = []
        position, end = 0, len(text.rstrip())
        while position < end:
            found = _TOKEN.match(text, position)
            if found is None:
                raise _unparsable(f"found '{text[position:].strip()}', expected: identifier")
            self._tokens.append(found[1] or found[2])
            position = found.end()
        self._next = 0

    def _peek(self) -> str:
        return self._tokens[self._next] if self._next < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._peek()
        self._next += 1
        return token

    def requirements(self) -> Iterator[Requirement]:
        while True:
            requirement = self._requirement()
            names.require_label_key(requirement.key)
            for value in requirement.values:
                names.require_label_value(value, requirement.key)
            yield requirement
            token = self._take()
            if not token:
                return
            if token != ",":
                raise _unparsable(f"found '{token}', expected: ',' or 'end of string'")
            if not self._peek():
                raise ValueError("found '', expected: identifier after ','")

    def _requirement(self) -> Requirement:
        if self._peek() == "!":
            self._take()
            if self._peek() in ("", "!", "=", ",", "(", ")", "==", "!="):
                raise _unparsable(f"found '{self._peek()}', expected: identifier")
            return Requirement(self._key(), "!")
        key = self._key()
        operator = self._peek()
        if operator in ("", ","):
            return Requirement(key, "exists")
        self._take()
        if operator in ("=", "==", "!="):
            value = "" if self._peek() in ("", ",") else self._take()
            return Requirement(key, "!=" if operator == "!=" else "=", (value,))
        if operator in ("in", "notin"):
            return Requirement(key, operator, self._values())
        raise _unparsable(f"found '{operator}', expected: in, notin, =, ==, !=, gt, lt")

    def _key(self) -> str:
        token = self._take()
        if not token or token in "!=,()<>" or token in ("==", "!="):
            raise _unparsable(f"found '{token}', expected: !, identifier, or 'end of string'")
        return token

    def _values(self) -> tuple[str, ...]:
        if (token := self._take()) != "(":
            raise _unparsable(f"found '{token}' expected: '('")
        values = {""} if self._peek() in (",", ")") else set()
        while (token := self._take()) != ")":
            if not token:
                wanted = "',' or ')'" if values else "',', ')' or identifier"
                raise _unparsable(f"found '', expected: {wanted}")
            if token == ",":
                if self._peek() in (",", ")"):
                    values.add("")
            else:
                values.add(token)
        return tuple(sorted(values))


def _unparsable(why: str) -> ValueError:
    return ValueError(f"unable to parse requirement: {why}")


def from_map(labels: Labels) -> Selector:
    """The selector that wants every one of these labels."""
    return Selector(tuple(sorted(Requirement(k, "=", (v,)) for k, v in labels.items())))


def parse_field_selector(text: str) -> Selector:
    """The selector that a query's `fieldSelector` writes (`a=b`, `a==b`, `a!=b`, joined by commas).

    `\\\\,`, `\\\\=` and `\\\\\\\\` stand for the plain character in a value. Raises ValueError in upstream's words.
    """
    found = []
    for term in re.split(r"(?<!\\),", text):
        if not term:
            continue
        match = re.match(r"((?:[^=!\\]|\\.|!(?!=))*?)(!=|==|=)(.*)", term, re.DOTALL)
        if match is None:
            raise ValueError(f"invalid selector: '{text}'; can't understand '{term}'")
        value = re.sub(r"\\([\\,=])", r"\1", match[3])
        found.append(Requirement(match[1], "!=" if match[2] == "!=" else "=", (value,)))
    return Selector(tuple(sorted(found)))


def require_fields(selector: Selector, known: Iterable[str]) -> None:
    """Refuse a field selector over other fields. Raises ValueError as upstream: `field label not supported: x`."""
    allowed = set(known)
    for requirement in selector.requirements:
        if requirement.key not in allowed:
            raise ValueError(
                f'"{requirement.key}" is not a known field selector: only {_quoted(sorted(allowed))}'
                if allowed <= {"metadata.name", "metadata.namespace"}
                else f"field label not supported: {requirement.key}"
            )


def _quoted(items: list[str]) -> str:
    return ", ".join(f'"{item}"' for item in items)
