"""Making causes: the kinds that upstream tells apart, and rules on names that several places share."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kumo.api.errors import Cause

Causes = Iterator[Cause]
"""Rules are generators: each yields what it finds wrong."""

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def invalid(field: str, message: str) -> Cause:
    """A value that makes no sense."""
    return Cause(field, message, "FieldValueInvalid")


def required(field: str, message: str) -> Cause:
    """A value that is missing."""
    return Cause(field, message, "FieldValueRequired")


def unsupported(field: str, message: str) -> Cause:
    """A value that is not among the known ones."""
    return Cause(field, message, "FieldValueNotSupported")


def duplicate(field: str, message: str) -> Cause:
    """A value that is there already."""
    return Cause(field, message, "FieldValueDuplicate")


def not_found(field: str, message: str) -> Cause:
    """A reference to nothing."""
    return Cause(field, message, "FieldValueNotFound")


def label_problems(text: str) -> list[str]:
    """Why the text is no DNS label (RFC 1123), in apimachinery's words."""
    problems = []
    if len(text) > 63:
        problems.append("must be no more than 63 characters")
    if not _LABEL.fullmatch(text):
        problems.append(
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and "
            "end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
            "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
        )
    return problems


def subdomain_problems(text: str) -> list[str]:
    """Why the text is no DNS subdomain (RFC 1123), in apimachinery's words."""
    problems = []
    if len(text) > 253:
        problems.append("must be no more than 253 characters")
    if not _SUBDOMAIN.fullmatch(text):
        problems.append(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
            "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
            "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
        )
    return problems
