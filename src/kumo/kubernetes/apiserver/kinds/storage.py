"""Persistent volumes."""

from __future__ import annotations

from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds.rules import Rules


def rules() -> dict[GVK, Rules]:
    """The rules of the kinds in this module."""

    return {}
