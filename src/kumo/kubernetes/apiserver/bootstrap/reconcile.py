"""What an object that should be there needs, given the one that is: upstream's RBAC reconciliation. Pure."""

from __future__ import annotations

import copy
from typing import Any

from kumo.api.objects import Object, annotations_of
from kumo.kubernetes.apiserver.authorization.rules import rules_of, uncovered
from kumo.kubernetes.apiserver.bootstrap.default_roles import AUTOUPDATE
from kumo.kubernetes.apiserver.bootstrap.retired import without_retired

_ROLES = ("ClusterRole", "Role")
_BINDINGS = ("ClusterRoleBinding", "RoleBinding")


def reconciled(found: Object, wanted: Object) -> Object | None:
    """The object to write in place of `found` so that it has all of `wanted`, or None when it has already.

    Roles get missing rules, bindings missing subjects (and lose those of `retired`); everything else is only created,
    never changed, except that a service, its endpoints and slice are made to say what is wanted.
    """
    if annotations_of(found).get(AUTOUPDATE) == "false":
        return None
    new = copy.deepcopy(without_retired(found))
    kind = wanted["kind"]
    if kind in _ROLES:
        _add_rules(new, wanted)
        _add_metadata(new, wanted)
    elif kind in _BINDINGS:
        subjects = new.get("subjects") or []
        missing = [s for s in wanted.get("subjects") or () if not any(_same(s, t) for t in subjects)]
        if missing:
            new["subjects"] = subjects + missing
        _add_metadata(new, wanted)
    elif kind == "Service":
        new["spec"]["ports"] = wanted["spec"]["ports"]
    elif kind == "ConfigMap":
        have = new.get("data") or {}
        # Since when something is noted stays as it was first written.
        new["data"] = {**have, **{k: v for k, v in wanted.get("data", {}).items() if k != "since" or k not in have}}
    return new if new != found else None


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(one.get(k) == other.get(k) for k in ("kind", "name", "namespace"))


def _add_rules(new: Object, wanted: Object) -> None:
    if "aggregationRule" in wanted:
        have = (new.get("aggregationRule") or {}).get("clusterRoleSelectors") or []
        asked = wanted["aggregationRule"]["clusterRoleSelectors"]
        missing_selectors = [s for s in asked if s not in have]
        if missing_selectors:
            new["aggregationRule"] = {"clusterRoleSelectors": have + missing_selectors}
    held = rules_of(new.get("rules"))
    missing = [r for r in wanted.get("rules") or () if uncovered(held, rules_of([r]))]
    if missing:
        new["rules"] = [*(new.get("rules") or ()), *missing]


def _add_metadata(new: Object, wanted: Object) -> None:
    for field in ("labels", "annotations"):
        want = wanted["metadata"].get(field) or {}
        have = new["metadata"].get(field) or {}
        if not want.items() <= have.items():
            new["metadata"][field] = {**have, **want}
