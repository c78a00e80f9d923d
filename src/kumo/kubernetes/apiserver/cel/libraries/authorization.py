"""`authorizer`: asking from an expression what a user may do (k8s.io/apiserver/pkg/cel/library, authz)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Question:
    """What an expression asks: a path, or a resource; `service_account` as (namespace, name) asks for another user."""

    verb: str = ""
    path: str = ""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    field_selector: str = ""
    label_selector: str = ""
    service_account: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer: `allowed`, with the authorizer's `reason`; `error` when it could not tell."""

    allowed: bool
    reason: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Authorizer:
    """The value of the variable `authorizer`: `decide` answers for the request's user (or the service account named)."""

    decide: Callable[[Question], Decision]
    service_account: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class ResourceCheck:
    """The value of `authorizer.requestResource` and of what `.resource(...)` builds."""

    authorizer: Authorizer
    question: Question
