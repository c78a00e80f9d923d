"""What a pod counts for when nodes are scored: its requests, with a small default for containers that name none."""

from __future__ import annotations

from kumo.api.objects import Object
from kumo.api.pod_requests import Amounts, pod_requests

DEFAULT_CPU = 100
DEFAULT_MEMORY = 200 * 1024 * 1024
"""What a container without requests counts for when nodes are scored (never when they are filtered)."""
_DEFAULTS = {"cpu": DEFAULT_CPU, "memory": DEFAULT_MEMORY}


def scoring_requests(pod: Object) -> Amounts:
    """The pod's requests, defaults included."""
    return pod_requests(pod, _DEFAULTS)
