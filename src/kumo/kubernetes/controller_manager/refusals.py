"""Refusals of the API server that controllers tell apart beyond what `kumo.api.errors` does."""

from __future__ import annotations

from kumo.api.errors import StatusError


def is_namespace_ending(error: BaseException | None) -> bool:
    """Whether a creation was refused because its namespace is being deleted: nothing to retry, nothing to report."""
    if not isinstance(error, StatusError) or error.code != 403:
        return False
    causes = (error.details or {}).get("causes") or ()
    return any(c.get("reason") == "NamespaceTerminating" for c in causes) or "it is being terminated" in error.message
