"""What is left in a terminating namespace, and the conditions that say so (upstream's status_condition_utils)."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from kumo.api import conditions
from kumo.api.objects import Object, timestamp
from kumo.api.resources import GVR


@dataclass(slots=True)
class Leftovers:
    """Counts of objects by resource and by finalizer, and what went wrong."""

    resources: dict[GVR, int] = field(default_factory=dict)
    finalizers: Counter[str] = field(default_factory=Counter)
    discovery_failures: dict[str, str] = field(default_factory=dict)
    deletion_failures: list[str] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left and nothing failed, so that the namespace may go."""
        return not self.resources and not self.discovery_failures and not self.deletion_failures

    def note(self, gvr: GVR, objects: list[Object]) -> None:
        """Count the objects that are left of one resource."""
        if objects:
            self.resources[gvr] = len(objects)
        for obj in objects:
            self.finalizers.update((obj.get("metadata") or {}).get("finalizers") or ())


def _listed(head: str, parts: list[str]) -> str:
    return head + ", ".join(sorted(parts))


def wanted_conditions(left: Leftovers) -> list[dict[str, Any]]:
    """The five conditions of a terminating namespace."""
    failed, refused = left.discovery_failures, left.deletion_failures
    remaining = [f"{g.resource}.{g.group} has {n} resource instances" for g, n in left.resources.items()]
    finalizers = [f"{name} in {count} resource instances" for name, count in left.finalizers.items()]
    table = (
        (
            "NamespaceDeletionDiscoveryFailure",
            bool(failed),
            "DiscoveryFailed",
            f"Discovery failed for some groups, {len(failed)} failing: unable to retrieve the complete list of "
            f"server APIs: {', '.join(f'{k}: {v}' for k, v in sorted(failed.items()))}",
            "ResourcesDiscovered",
            "All resources successfully discovered",
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            False,
            "GroupVersionParsingFailed",
            "",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        (
            "NamespaceDeletionContentFailure",
            bool(refused),
            "ContentDeletionFailed",
            f"Failed to delete all resource types, {len(refused)} remaining: {', '.join(refused)}",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
        (
            "NamespaceContentRemaining",
            bool(remaining),
            "SomeResourcesRemain",
            _listed("Some resources are remaining: ", remaining),
            "ContentRemoved",
            "All content successfully removed",
        ),
        (
            "NamespaceFinalizersRemaining",
            bool(finalizers),
            "SomeFinalizersRemain",
            _listed("Some content in the namespace has finalizers remaining: ", finalizers),
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished",
        ),
    )
    return [
        {
            "type": kind,
            "status": "True" if bad else "False",
            "reason": reason if bad else good_reason,
            "message": message if bad else good,
        }
        for kind, bad, reason, message, good_reason, good in table
    ]


def status(namespace: Object, left: Leftovers, now: float) -> dict[str, Any]:
    """The namespace's status with those conditions; equal to the old one if nothing moved."""
    found: dict[str, Any] = deepcopy(namespace.get("status") or {})
    listed: list[dict[str, Any]] = found.setdefault("conditions", [])
    for condition in wanted_conditions(left):
        conditions.set_condition(listed, condition, timestamp(now))
    return found
