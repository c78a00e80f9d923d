"""Why a number of replicas could not be computed."""

from __future__ import annotations


class Uncomputable(Exception):
    """A metric can't be had or makes no sense; the text is upstream's, for conditions and events."""
