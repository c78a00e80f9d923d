"""Who calls, as a valid token says, and with which client the service then acts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from kumo.api.users import UserInfo
from kumo.machinery.client import Client


@dataclass(frozen=True, slots=True)
class Project:
    """The project that a token is scoped to; `namespace` is where its objects live."""

    id: str
    name: str
    namespace: str
    domain_id: str


@dataclass(frozen=True, slots=True)
class Caller:
    """A proven caller: who, in which scope, with which roles; `kube` acts as that user towards the API server."""

    user_id: str
    user_name: str
    user: UserInfo
    roles: frozenset[str]
    kube: Client
    project: Project | None = None
    domain_id: str = ""
    system: bool = False
    token: str = ""

    @property
    def is_admin(self) -> bool:
        """Whether the caller administers the cloud: the role admin, in whatever scope (the services' default)."""
        return "admin" in self.roles

    @property
    def may_write(self) -> bool:
        """Whether the caller may change things of the project: more than the role reader."""
        return not self.roles.isdisjoint(("admin", "manager", "member"))


Authenticate = Callable[[str], Awaitable[Caller | None]]
"""The caller whom a token proves; None for a token that proves nothing (any more)."""
