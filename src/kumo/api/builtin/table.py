"""A short notation for the tables of resources: what is usual is left out."""

from __future__ import annotations

from kumo.api.resources import ALL_VERBS, ResourceType, Subresource

STATUS = Subresource("status", ("get", "patch", "update"))
SCALE = Subresource("scale", ("get", "patch", "update"), "Scale", "autoscaling", "v1")
PROXY_VERBS = ("create", "delete", "get", "patch", "update")
CREATE = ("create",)


class Group:
    """One version of an API group; its methods make `ResourceType`s in it."""

    def __init__(self, group: str, version: str = "v1") -> None:
        self.group = group
        self.version = version

    def namespaced(
        self,
        kind: str,
        resource: str,
        short: str = "",
        *below: Subresource,
        categories: tuple[str, ...] = (),
        verbs: tuple[str, ...] = ALL_VERBS,
    ) -> ResourceType:
        """A namespaced resource; `short` lists its short names, `below` its subresources."""
        return self._made(kind, resource, True, short, below, categories, verbs)

    def cluster(
        self,
        kind: str,
        resource: str,
        short: str = "",
        *below: Subresource,
        categories: tuple[str, ...] = (),
        verbs: tuple[str, ...] = ALL_VERBS,
    ) -> ResourceType:
        """A cluster-scoped resource."""
        return self._made(kind, resource, False, short, below, categories, verbs)

    def _made(
        self,
        kind: str,
        resource: str,
        namespaced: bool,
        short: str,
        below: tuple[Subresource, ...],
        categories: tuple[str, ...],
        verbs: tuple[str, ...],
    ) -> ResourceType:
        return ResourceType(
            self.group,
            self.version,
            kind,
            resource,
            kind.lower(),
            namespaced,
            tuple(short.split()),
            categories,
            verbs,
            below,
        )
