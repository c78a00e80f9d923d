"""The options of a list or watch that depend on each other, checked all at once.

Source: `apimachinery/pkg/apis/meta/internalversion/validation`.
"""

from __future__ import annotations

from kumo.api.errors import Cause, invalid
from kumo.kubernetes.apiserver.call import Call

EXACT, NOT_OLDER = "Exact", "NotOlderThan"


def check_list_options(call: Call, *, watch: bool) -> None:
    """Refuse options that do not go together. Raises 422 with all that is wrong."""
    query = call.query
    if not query.get("resourceVersionMatch") and not query.get("sendInitialEvents"):
        if not (watch and query.get("continue") and query.get("resourceVersion", "") in ("", "0")):
            return
        # A watch that names no revision asks for what is there first.
        query = {**query, "sendInitialEvents": "true", "resourceVersionMatch": NOT_OLDER}
    causes = _for_watch(query) if watch else _for_list(query)
    if causes:
        raise invalid("meta.k8s.io", "ListOptions", "", causes)


def _for_list(query: dict[str, str]) -> list[Cause]:
    match, causes = query.get("resourceVersionMatch", ""), list[Cause]()
    if match:
        if not query.get("resourceVersion"):
            causes.append(_forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided"))
        if query.get("continue"):
            causes.append(_forbidden("resourceVersionMatch is forbidden when continue is provided"))
        if match not in (EXACT, NOT_OLDER):
            causes.append(_unsupported(match, f'"{EXACT}", "{NOT_OLDER}", ""'))
        if match == EXACT and query.get("resourceVersion") == "0":
            causes.append(_forbidden('resourceVersionMatch "exact" is forbidden for resourceVersion "0"'))
    if query.get("sendInitialEvents"):
        causes.append(_forbidden("sendInitialEvents is forbidden for list", "sendInitialEvents"))
    return causes


def _for_watch(query: dict[str, str]) -> list[Cause]:
    match, causes = query.get("resourceVersionMatch", ""), list[Cause]()
    initial = query.get("sendInitialEvents", "")
    if initial and match != NOT_OLDER:
        causes.append(_forbidden(f"sendInitialEvents requires setting resourceVersionMatch to {NOT_OLDER}"))
    if match:
        if not initial:
            causes.append(
                _forbidden("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
            )
        if match != NOT_OLDER:
            causes.append(_unsupported(match, f'"{NOT_OLDER}"'))
        if query.get("continue"):
            causes.append(_forbidden("resourceVersionMatch is forbidden when continue is provided"))
    return causes


def _forbidden(why: str, field: str = "resourceVersionMatch") -> Cause:
    return Cause(field, f"Forbidden: {why}", "FieldValueForbidden")


def _unsupported(value: str, supported: str) -> Cause:
    text = f'Unsupported value: "{value}": supported values: {supported}'
    return Cause("resourceVersionMatch", text, "FieldValueNotSupported")
