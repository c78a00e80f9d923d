"""The decision: may this user do this? RBAC, with answers remembered until a role or binding changes."""

from __future__ import annotations

from typing import NamedTuple

from kumo.api.errors import StatusError, forbidden
from kumo.api.node_components import node_acted_for
from kumo.api.users import MASTERS_GROUP, UserInfo
from kumo.kubernetes.apiserver.attributes import Reader, RequestInfo
from kumo.kubernetes.apiserver.authorization.node_components import NodeComponents
from kumo.kubernetes.apiserver.authorization.nodes import NODES_GROUP, NodeAuthorizer, node_of
from kumo.kubernetes.apiserver.authorization.rules import Rule
from kumo.kubernetes.apiserver.authorization.tables import Binding, RoleNotFound, Tables

_REMEMBERED_USERS = 4096
_REMEMBERED_ANSWERS = 20000


class Decision(NamedTuple):
    """Whether the request is allowed, and why (empty for a plain refusal)."""

    allowed: bool
    reason: str = ""


class _Answer(NamedTuple):
    """What is remembered for a verb on a resource: allowed for every name, or for some, and why."""

    every: bool
    names: frozenset[str]
    reason: str


_Key = tuple[str, str, str, str, str]
_MASTER = Decision(True)


class Authorizer:
    """The node authorizer, then role-based access control. A member of `system:masters` may do anything.

    `node_rules` are those of the default role `system:node`, which nodes hold without a binding.
    """

    def __init__(self, reader: Reader, node_rules: tuple[Rule, ...] = ()) -> None:
        self._tables = Tables(reader)
        self._nodes = NodeAuthorizer(reader, node_rules)
        self._components = NodeComponents(reader)
        self._remembered: dict[tuple[str, tuple[str, ...]], dict[_Key, _Answer]] = {}

    def authorize(self, user: UserInfo, info: RequestInfo) -> Decision:
        """Whether RBAC allows it. Costs a few microseconds once a user has asked the like before."""
        if MASTERS_GROUP in user.groups:
            return _MASTER
        if NODES_GROUP in user.groups:
            node = node_of(user)
            if node is not None:
                return self._node_asks(node, user, info)
        decision = self._by_roles(user, info)
        if decision.allowed and user.extra and (node := node_acted_for(user)):
            why = self._components.refusal(user.name, node, info)
            return Decision(False, why) if why else decision
        return decision

    def _by_roles(self, user: UserInfo, info: RequestInfo) -> Decision:
        answers = self._answers(user)
        if info.resource:
            key = (info.verb, info.group, info.resource, info.subresource, info.namespace)
        else:
            key = (info.verb, "", "", "", info.path)
        answer = answers.get(key)
        if answer is None:
            answer = self._find(user, info)
            if len(answers) > _REMEMBERED_ANSWERS:
                answers.clear()
            answers[key] = answer
        if answer.every or (info.name and info.name in answer.names):
            return Decision(True, answer.reason)
        return Decision(False, "" if answer.names else answer.reason)

    def _node_asks(self, node: str, user: UserInfo, info: RequestInfo) -> Decision:
        allowed, why = self._nodes.authorize(node, user, info)
        if allowed:
            return Decision(True)
        decision = self._by_roles(user, info)
        if decision.allowed:
            return decision
        return Decision(False, "\n".join(filter(None, (why, decision.reason))))

    def check(self, user: UserInfo, info: RequestInfo) -> None:
        """Raise the 403 StatusError that upstream answers, unless the request is allowed."""
        decision = self.authorize(user, info)
        if not decision.allowed:
            raise forbidden_error(user, info, decision.reason)

    def rules(self, user: UserInfo, namespace: str = "") -> tuple[list[Rule], list[str]]:
        """All rules that apply to the user in the namespace (or cluster-wide), and the errors met in finding them."""
        self._refresh()
        found: list[Rule] = []
        errors: list[str] = []
        for binding in self._tables.bound(user, namespace):
            try:
                found += self._tables.rules_of_role(binding)
            except RoleNotFound as error:
                errors.append(str(error))
        return found, errors

    def role_rules(self, kind: str, name: str, namespace: str) -> tuple[Rule, ...] | None:
        """The rules of a ClusterRole, or of the namespace's Role; None if there is none."""
        self._refresh()
        if kind == "ClusterRole":
            return self._tables.cluster_roles.get(name)
        return self._tables.roles.get((namespace, name))

    def _refresh(self) -> None:
        if self._tables.refresh():
            self._remembered.clear()

    def _answers(self, user: UserInfo) -> dict[_Key, _Answer]:
        self._refresh()
        who = (user.name, user.groups)
        answers = self._remembered.get(who)
        if answers is None:
            if len(self._remembered) > _REMEMBERED_USERS:
                self._remembered.clear()
            answers = self._remembered[who] = {}
        return answers

    def _find(self, user: UserInfo, info: RequestInfo) -> _Answer:
        names: set[str] = set()
        errors: list[str] = []
        reason = ""
        for binding in self._tables.bound(user, info.namespace):
            try:
                rules = self._tables.rules_of_role(binding)
            except RoleNotFound as error:
                errors.append(str(error))
                continue
            for rule in rules:
                if not rule.allows_verb(info.verb):
                    continue
                if not info.resource:
                    if rule.allows_url(info.path):
                        return _Answer(True, frozenset(), _because(binding, user))
                elif rule.allows_resource(info.group, info.resource, info.subresource):
                    reason = _because(binding, user)
                    if not rule.names:
                        return _Answer(True, frozenset(), reason)
                    names.update(rule.names)
        if names:
            return _Answer(False, frozenset(names), reason)
        return _Answer(False, frozenset(), _refused(errors))


def _because(binding: Binding, user: UserInfo) -> str:
    where = f'RoleBinding "{binding.name}/{binding.namespace}"'
    named = where if binding.namespace else f'ClusterRoleBinding "{binding.name}"'
    return f'RBAC: allowed by {named} of {binding.role_kind} "{binding.role_name}" to {binding.subject_of(user)}'


def _refused(errors: list[str]) -> str:
    if not errors:
        return ""
    unique = list(dict.fromkeys(errors))
    return f"RBAC: {unique[0]}" if len(unique) == 1 else f"RBAC: [{', '.join(unique)}]"


def forbidden_error(user: UserInfo, info: RequestInfo, reason: str = "") -> StatusError:
    """The 403 that upstream's `responsewriters.Forbidden` writes for a refused request."""
    suffix = f": {reason}" if reason else ""
    if not info.resource:
        message = f'forbidden: User "{user.name}" cannot {info.verb} path "{info.path}"{suffix}'
        return StatusError(403, "Forbidden", message, {})
    resource = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    where = f'in the namespace "{info.namespace}"' if info.namespace else "at the cluster scope"
    why = f'User "{user.name}" cannot {info.verb} resource "{resource}" in API group "{info.group}" {where}{suffix}'
    return forbidden(info.group, info.resource, info.name, why)
