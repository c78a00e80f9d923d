"""How other wings hook into an API server without importing it: admission hooks, API groups, token authenticators.

The same hook is called straight when everything runs in one process, and served over HTTPS as a webhook or an
aggregated API when its wing is attached to another Kubernetes cluster; `kumo.cli` chooses.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kumo.api.objects import Object
from kumo.api.users import UserInfo
from kumo.machinery.http import Handler

TokenAuthenticator = Callable[[str], Awaitable[UserInfo | None]]
"""The user a bearer token proves; None if it is not a token of this authenticator's making."""

Review = Callable[[Object], Awaitable[Object]]
"""Takes an `admission.k8s.io/v1` AdmissionReview with `request`, gives one with `response` (base64 JSON patch)."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Which requests a hook sees; `*` stands for all. Operations are CREATE, UPDATE, DELETE, CONNECT."""

    groups: tuple[str, ...]
    versions: tuple[str, ...]
    resources: tuple[str, ...]
    operations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AdmissionHook:
    """A webhook's handler with the rules of its configuration; `name` is the webhook's full name."""

    name: str
    kind: Literal["mutating", "validating"]
    rules: tuple[Rule, ...]
    review: Review


@dataclass(frozen=True, slots=True)
class ApiGroup:
    """An aggregated API: `handler` serves everything below /apis/{group}, after authentication by the API server.

    The request's `user` is the authenticated one. `authorize` says whether the API server checks RBAC itself first.
    """

    group: str
    versions: tuple[str, ...]
    handler: Handler
    resources: Sequence[dict[str, Any]] = ()
    """The `APIResource` entries of its discovery, the same for each version."""
    authorize: bool = True
