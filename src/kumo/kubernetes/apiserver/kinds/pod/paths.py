"""File paths in volumes and mounts."""

from __future__ import annotations

from kumo.api import fields
from kumo.api.errors import Cause


def no_backsteps(path: str, value: str) -> list[Cause]:
    """A path that never goes up."""
    return [fields.invalid(path, value, "must not contain '..'")] if ".." in value.split("/") else []


def descending(path: str, value: str) -> list[Cause]:
    """A relative path below some root that does not leave it."""
    found = [fields.invalid(path, value, "must be a relative path")] if value.startswith("/") else []
    return found + no_backsteps(path, value)


def unreserved(path: str, value: str) -> list[Cause]:
    """A descending path whose first step is not one that the kubelet uses itself (`..data`)."""
    found = descending(path, value)
    if value.startswith("..") and not value.startswith("../"):
        found.append(fields.invalid(path, value, "must not start with '..'"))
    return found
