"""ClusterRole aggregation: a role with an `aggregationRule` holds the rules of all the roles that it selects."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kumo.api import selectors
from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Key, Object, key_of, labels_of, name_of
from kumo.api.resources import CLUSTERROLES
from kumo.machinery.client import Client
from kumo.machinery.controller import Controller
from kumo.machinery.informer import Informers

Rule = dict[str, Any]


def selectors_of(role: Object) -> list[dict[str, Any]]:
    """The role's aggregation selectors, none for an ordinary role."""
    return (role.get("aggregationRule") or {}).get("clusterRoleSelectors") or []


def selects(role: Object, other: Object) -> bool:
    """Whether the rules of `other` belong into `role`."""
    return name_of(role) != name_of(other) and any(selectors.matches(s, labels_of(other)) for s in selectors_of(role))


def aggregated(role: Object, others: Iterable[Object]) -> list[Rule]:
    """The rules that the role should hold: those of the roles it selects, in order of their names, each once."""
    found: list[Rule] = []
    for other in sorted(others, key=name_of):
        if selects(role, other):
            found += [rule for rule in other.get("rules") or () if rule not in found]
    return found


class ClusterRoleAggregationController:
    """Writes the rules of aggregated roles whenever a role that they select changes."""

    name = "clusterrole-aggregation-controller"

    def __init__(self, client: Client, informers: Informers) -> None:
        self._client = client
        self._roles = informers.informer(CLUSTERROLES)
        self._controller = Controller(self.name, self._reconcile, workers=2)
        self._controller.watch(self._roles, self._aggregates)

    async def run(self) -> None:
        """Run until cancelled."""
        await self._controller.run()

    def _aggregates(self, changed: Object) -> Iterable[Key]:
        """All aggregated roles, of which there are few: a label that was lost matters as much as one that was won."""
        return [key_of(role) for role in self._roles.objects() if selectors_of(role)]

    async def _reconcile(self, key: Key) -> float | None:
        role = self._roles.get_key(key)
        if role is None or not selectors_of(role):
            return None
        rules = aggregated(role, self._roles.objects())
        if rules == (role.get("rules") or []):
            return None
        try:
            await self._client.update(CLUSTERROLES, {**role, "rules": rules})
        except StatusError as error:
            if not is_not_found(error):
                raise
        return None
