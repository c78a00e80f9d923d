"""The options of a write that its query gives: who manages, dry run, field validation (CreateOptions, ...). Checked.

Source: `apimachinery/pkg/apis/meta/v1/validation`.
"""

from __future__ import annotations

import json

from kumo.api.errors import Cause, invalid
from kumo.kubernetes.apiserver.call import Call

APPLY_PATCH = "application/apply-patch+yaml"
MANAGER_LIMIT = 128
_CHECKED = frozenset(("fieldManager", "force", "dryRun", "fieldValidation"))
_KINDS = {"create": "CreateOptions", "update": "UpdateOptions", "patch": "PatchOptions"}


def check_options(call: Call, patch: str = "") -> None:
    """Refuse options that are none; `patch` is the media type of a patch. Raises 422 with all that is wrong."""
    query = call.query
    if not patch and _CHECKED.isdisjoint(query):
        return
    causes: list[Cause] = []
    if patch == APPLY_PATCH:
        if not query.get("fieldManager"):
            causes.append(Cause("fieldManager", "Required value: is required for apply patch", "FieldValueRequired"))
    elif patch and "force" in query:
        causes.append(Cause("force", "Forbidden: may not be specified for non-apply patch", "FieldValueForbidden"))
    causes += manager_causes(query.get("fieldManager", ""), "fieldManager")
    if query.get("dryRun"):
        values = [value for name, value in call.request.query_list if name == "dryRun"]
        causes += dry_run_causes(values)
    validation = query.get("fieldValidation", "")
    if validation not in ("", "Ignore", "Warn", "Strict"):
        text = f'Unsupported value: {json.dumps(validation)}: supported values: "", "Ignore", "Strict", "Warn"'
        causes.append(Cause("fieldValidation", text, "FieldValueNotSupported"))
    if causes:
        raise invalid("meta.k8s.io", _KINDS.get(call.info.verb, "CreateOptions"), "", causes)


def manager_causes(manager: str, path: str) -> list[Cause]:
    """What is wrong with a manager's name."""
    causes: list[Cause] = []
    if len(manager.encode()) > MANAGER_LIMIT:
        causes.append(Cause(path, f"Too long: may not be more than {MANAGER_LIMIT} bytes", "FieldValueTooLong"))
    at = 0
    for character in manager:
        if not character.isprintable():
            shown = f"U+{ord(character):04X}"
            text = f"Invalid value: {json.dumps(manager)}: invalid character {shown} (at position {at})"
            causes.append(Cause(path, text))
        at += len(character.encode())
    return causes


def dry_run_causes(values: list[str]) -> list[Cause]:
    """What is wrong with the values of `dryRun`."""
    if all(value == "All" for value in values):
        return []
    listed = ",".join(json.dumps(value) for value in values)
    return [Cause("dryRun", f'Unsupported value: [{listed}]: supported values: "All"', "FieldValueNotSupported")]
