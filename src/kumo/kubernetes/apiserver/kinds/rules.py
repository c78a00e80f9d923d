"""The form in which a kind's own rules are written down; one `Rules` value a kind, in the module named after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from kumo.api import names
from kumo.api.errors import Cause
from kumo.api.objects import Object
from kumo.kubernetes.apiserver.kinds.metadata import NameCheck


def _nothing(obj: Object) -> None:
    """No defaults."""


def _no_complaint(obj: Object) -> list[Cause]:
    return []


def _no_change_complaint(new: Object, old: Object) -> list[Cause]:
    return []


def _unchanged(new: Object, old: Object) -> None:
    """Nothing to carry over."""


@dataclass(frozen=True, slots=True)
class Part:
    """What a write of one subresource does: `prepare` carries over in place, `validate` judges the whole result."""

    prepare: Callable[[Object, Object], None]
    validate: Callable[[Object, Object], list[Cause]]


@dataclass(frozen=True, slots=True)
class Rules:
    """What upstream keeps in code about one kind.

    - `default` sets defaults in place. `validate` looks at a whole object (create and update alike), `validate_update`
      at what changed, `validate_status` at a status write.
    - `on_create` and `on_update` do in place what the registry's strategy does beyond status and generation.
    - `check_update` judges an update as a whole, in place of `validate_update` and `validate`.
    - `warn` tells what is allowed but unwise, of a new state and the old one (None at creation); `warn_status` of a
      status write.
    - `counts_annotations`: a change of annotations counts the generation too. `counts_labels`: one of labels.
    - `unconditional_update`: an update need not say which version it was made from.
    - `prepare_status` carries over what a status write leaves unsaid. `any_finalizer`: names without a domain are fine.
      `revalidates`: an update is judged as a new object too, or `only` as one.
    - `status_keeps_metadata`: a status write changes no labels and the like, or nothing of the `whole` metadata.
    - `validate_create` looks at new objects only. `parts` are subresources with rules of their own.
    - `status_on_create`: a new object may bring its status along (nodes). `empty_status`: a new object shows one.
    - `fields`: field selectors beyond name and namespace, and the path each reads; a callable for what is computed.
    """

    default: Callable[[Object], None] = _nothing
    validate: Callable[[Object], list[Cause]] = _no_complaint
    validate_create: Callable[[Object], list[Cause]] = _no_complaint
    validate_update: Callable[[Object, Object], list[Cause]] = _no_change_complaint
    check_update: Callable[[Object, Object], list[Cause]] | None = None
    validate_status: Callable[[Object, Object], list[Cause]] = _no_change_complaint
    warn: Callable[[Object, Object | None], list[str]] | None = None
    warn_status: Callable[[Object, Object], list[str]] | None = None
    on_create: Callable[[Object], None] = _nothing
    on_update: Callable[[Object, Object], None] = _unchanged
    prepare_status: Callable[[Object, Object], None] = _unchanged
    counts_annotations: bool = False
    counts_labels: bool = False
    any_finalizer: bool = False
    revalidates: bool | Literal["only"] = False
    check_name: NameCheck = names.check_subdomain
    has_status: bool = False
    status_on_create: bool = False
    empty_status: bool = True
    has_generation: bool = False
    status_keeps_metadata: bool | Literal["whole"] = False
    allow_create_on_update: bool = False
    unconditional_update: bool = True
    parts: Mapping[str, Part] = field(default_factory=dict)
    fields: Mapping[str, Callable[[Object], str] | str] = field(default_factory=dict)


def at(obj: Any, path: str) -> Any:
    """The value at a dotted path, or None."""
    for step in path.split("."):
        if not isinstance(obj, dict):
            return None
        obj = obj.get(step)
    return obj


def as_field(value: Any) -> str:
    """A value as field selectors compare it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)
