"""Roles and bindings, read from the cache and arranged for looking up; made anew, kind by kind, when they change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from kumo.api.objects import Object, labels_of, name_of, namespace_of
from kumo.api.resources import CLUSTERROLEBINDINGS, CLUSTERROLES, GVR, ROLEBINDINGS, ROLES
from kumo.api.users import UserInfo
from kumo.kubernetes.apiserver.attributes import Reader
from kumo.kubernetes.apiserver.authorization.rules import Rule, rules_of

_GROUP = "rbac.authorization.k8s.io"


class Binding(NamedTuple):
    """One binding: the users and groups it binds, and the role (`kind`, `name`); `namespace` is empty for all."""

    namespace: str
    name: str
    users: frozenset[str]
    groups: frozenset[str]
    role_kind: str
    role_name: str
    subjects: tuple[tuple[str, str, str], ...] = ()
    """Kind, namespace and name, as they are written."""

    def subject_of(self, user: UserInfo) -> str:
        """The first subject that is the user or one of his groups, in upstream's words."""
        for kind, namespace, name in self.subjects:
            if kind == "ServiceAccount":
                if user.name == f"system:serviceaccount:{namespace}:{name}":
                    return f'{kind} "{name}/{namespace}"'
            elif (kind == "User" and name == user.name) or (kind == "Group" and name in user.groups):
                return f'{kind} "{name}"'
        return ""


class RoleNotFound(Exception):
    """A binding names a role that does not exist; the message is what upstream puts behind `RBAC: `."""


def binding_of(obj: Object) -> Binding:
    """The binding that a RoleBinding or ClusterRoleBinding is."""
    namespace = namespace_of(obj)
    users: set[str] = set()
    groups: set[str] = set()
    subjects: list[tuple[str, str, str]] = []
    for subject in obj.get("subjects") or ():
        kind = subject.get("kind")
        where = (subject.get("namespace") or namespace) if kind == "ServiceAccount" else ""
        subjects.append((kind, where, subject["name"]))
        if kind == "User":
            users.add(subject["name"])
        elif kind == "Group":
            groups.add(subject["name"])
        elif kind == "ServiceAccount":
            users.add(f"system:serviceaccount:{subject.get('namespace') or namespace}:{subject['name']}")
    ref = obj.get("roleRef") or {}
    return Binding(
        namespace,
        name_of(obj),
        frozenset(users),
        frozenset(groups),
        ref.get("kind", ""),
        ref.get("name", ""),
        tuple(subjects),
    )


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a LabelSelector (of an aggregation rule) selects the labels."""
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for term in selector.get("matchExpressions") or ():
        key, values = term["key"], term.get("values") or ()
        fits = {
            "In": labels.get(key) in values,
            "NotIn": labels.get(key) not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }.get(term["operator"], False)
        if not fits:
            return False
    return True


def aggregated(role: Object, others: list[Object]) -> list[dict[str, Any]]:
    """The rules of a ClusterRole: its own, or those of all that its aggregation rule selects (by name, unique)."""
    selectors = (role.get("aggregationRule") or {}).get("clusterRoleSelectors")
    if not selectors:
        return role.get("rules") or []
    found: list[dict[str, Any]] = []
    for other in sorted(others, key=name_of):
        if name_of(other) != name_of(role) and any(selects(s, labels_of(other)) for s in selectors):
            found += [r for r in other.get("rules") or () if r not in found]
    return found


class Tables:
    """The four kinds as tables. `refresh` reads what has changed since; it costs four comparisons when nothing has."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._seen: dict[GVR, int] = {}
        self.cluster_roles: dict[str, tuple[Rule, ...]] = {}
        self.roles: dict[tuple[str, str], tuple[Rule, ...]] = {}
        self.cluster_bindings: list[Binding] = []
        self.bindings: dict[str, list[Binding]] = {}

    def refresh(self) -> bool:
        """Catch up with the cache; True if anything had changed."""
        revision, seen = self._reader.revision, self._seen
        changed = False
        for gvr, rebuild in (
            (CLUSTERROLES, self._read_cluster_roles),
            (CLUSTERROLEBINDINGS, self._read_cluster_bindings),
            (ROLES, self._read_roles),
            (ROLEBINDINGS, self._read_bindings),
        ):
            now = revision(gvr)
            if seen.get(gvr) != now:
                rebuild()
                seen[gvr] = now
                changed = True
        return changed

    def _read_cluster_roles(self) -> None:
        every = self._reader.objects(CLUSTERROLES)
        resolved = {name_of(o): o for o in every}
        # An aggregated role may select aggregated ones (admin selects edit, edit selects view): until nothing moves.
        for _ in range(8):
            moved = False
            for role in every:
                if role.get("aggregationRule"):
                    rules = aggregated(role, every)
                    if rules != role.get("rules"):
                        role["rules"] = rules
                        moved = True
            if not moved:
                break
        self.cluster_roles = {name: rules_of(o.get("rules")) for name, o in resolved.items()}

    def _read_roles(self) -> None:
        every = self._reader.objects(ROLES)
        self.roles = {(namespace_of(o), name_of(o)): rules_of(o.get("rules")) for o in every}

    def _read_cluster_bindings(self) -> None:
        self.cluster_bindings = [binding_of(o) for o in self._reader.objects(CLUSTERROLEBINDINGS)]

    def _read_bindings(self) -> None:
        found: dict[str, list[Binding]] = {}
        for obj in self._reader.objects(ROLEBINDINGS):
            found.setdefault(namespace_of(obj), []).append(binding_of(obj))
        self.bindings = found

    def rules_of_role(self, binding: Binding) -> tuple[Rule, ...]:
        """The rules of the role that a binding names. Raises RoleNotFound."""
        if binding.role_kind == "ClusterRole":
            rules = self.cluster_roles.get(binding.role_name)
            kind = "clusterrole"
        else:
            rules = self.roles.get((binding.namespace, binding.role_name))
            kind = "role"
        if rules is None:
            raise RoleNotFound(f'{kind}.{_GROUP} "{binding.role_name}" not found')
        return rules

    def bound(self, user: UserInfo, namespace: str = "") -> Iterator[Binding]:
        """The bindings that concern the user: the cluster's, then the namespace's if one is given."""
        groups = frozenset(user.groups)
        for binding in self.cluster_bindings:
            if user.name in binding.users or not groups.isdisjoint(binding.groups):
                yield binding
        for binding in self.bindings.get(namespace, ()) if namespace else ():
            if user.name in binding.users or not groups.isdisjoint(binding.groups):
                yield binding
