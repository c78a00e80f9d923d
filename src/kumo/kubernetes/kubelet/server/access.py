"""Which right a request to the node's own API needs: `nodes/{subresource}` of this node. Pure.

Upstream: `pkg/kubelet/server/auth.go`. A path may need one of several subresources: the finer one or `proxy`.
"""

from __future__ import annotations

_VERBS = {"POST": "create", "GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_FINE = (("/pods", "pods"), ("/healthz", "healthz"), ("/configz", "configz"), ("/runningpods", "pods"))
_COARSE = (
    ("/stats", "stats"),
    ("/metrics", "metrics"),
    ("/logs", "log"),
    ("/checkpoint", "checkpoint"),
    ("/statusz", "statusz"),
    ("/flagz", "configz"),
)


def verb(method: str) -> str:
    """The verb of a method; empty for others, which nobody is granted but by `*`."""
    return _VERBS.get(method, "")


def subresources(path: str) -> list[str]:
    """The subresources of `nodes`, one of which is needed."""
    found = [name for top, name in _FINE if _below(path, top)][:1]
    coarse = next((name for top, name in _COARSE if _below(path, top)), "proxy")
    return [*found, coarse]


def _below(path: str, top: str) -> bool:
    return path == top or path.startswith(f"{top}/")
