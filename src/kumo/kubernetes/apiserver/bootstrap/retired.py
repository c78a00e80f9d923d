"""What earlier versions of kumo made by default and later ones do not: taken away once, if nobody else has made it so.

Upstream's reconciliation only ever adds. These are kumo's own: as long as their fields are managed by the API server
alone, nobody has wanted them; once somebody else writes them, they are his.
"""

from __future__ import annotations

import copy

from kumo.api.objects import Object, annotations_of
from kumo.kubernetes.apiserver.bootstrap.default_roles import AUTOUPDATE, group

_SUBJECTS = {"system:node": [group("system:nodes")]}
"""Before the node authorizer, nodes were let do by role what it now allows each for what concerns it."""
_OURS = frozenset(("kube-apiserver", "apiserver", "kumo"))
"""The managers that the API server has written its defaults as."""


def without_retired(found: Object) -> Object:
    """The object without what is retired; the same object when there is nothing of that. Pure."""
    if found.get("kind") != "ClusterRoleBinding" or annotations_of(found).get(AUTOUPDATE) == "false":
        return found
    old = _SUBJECTS.get(found["metadata"]["name"])
    if old is None or found.get("subjects") != old or _managers(found) - _OURS:
        return found
    new = copy.deepcopy(found)
    del new["subjects"]
    return new


def _managers(found: Object) -> set[str]:
    """Who manages the subjects."""
    entries = found["metadata"].get("managedFields") or ()
    return {str(e.get("manager")) for e in entries if "f:subjects" in (e.get("fieldsV1") or {})}
