"""A short notation for roles, so that a hundred of them can be read on one page. Pure.

A line without indent is the role's name. Each indented line is a rule, `verbs | groups | resources` with
`| names` if it is limited to names, or `verbs | url | paths`. Words are separated by spaces; `core` is the core group;
`read` is get, list, watch; `write` is create, delete, deletecollection, patch, update; `events` alone is the right to
record events.
"""

from __future__ import annotations

from typing import Any

_WORDS = {
    "read": ("get", "list", "watch"),
    "write": ("create", "delete", "deletecollection", "patch", "update"),
}
_EVENTS = {"apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch", "update"]}

Rules = list[dict[str, Any]]


def parse_rule(line: str) -> dict[str, Any]:
    """The PolicyRule of one line. Raises ValueError for a line of another form."""
    if line.strip() == "events":
        return dict(_EVENTS)
    parts = [p.split() for p in line.split("|")]
    if len(parts) not in (3, 4):
        raise ValueError(f"not a rule: {line!r}")
    verbs = sorted(v for word in parts[0] for v in _WORDS.get(word, (word,)))
    if parts[1] == ["url"]:
        return {"nonResourceURLs": parts[2], "verbs": verbs}
    rule: dict[str, Any] = {"apiGroups": ["" if g == "core" else g for g in parts[1]], "resources": parts[2]}
    if len(parts) == 4:
        rule["resourceNames"] = parts[3]
    return rule | {"verbs": verbs}


def parse_roles(text: str) -> dict[str, Rules]:
    """The rules of each role in the text, by the role's name, in order."""
    roles: dict[str, Rules] = {}
    name = ""
    for line in text.splitlines():
        if not line.strip():
            continue
        if line[0].isspace():
            roles[name].append(parse_rule(line))
        else:
            name = line.strip()
            roles[name] = []
    return roles
