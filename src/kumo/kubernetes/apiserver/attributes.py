"""What is known of a request at each step of its way through the API server.

`RequestInfo` is read off the path, `AdmissionAttributes` is what admission looks at, `Reader` is how authentication,
authorization and admission read objects without a request of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from kumo.api.objects import Object
from kumo.api.resources import GVK, GVR
from kumo.api.users import UserInfo

Operation = Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """What a request asks for (upstream's `request.RequestInfo`).

    `verb` is get, list, watch, create, update, patch, delete or deletecollection for a resource request, else the
    lower-case HTTP method. `resource` is empty for a non-resource path.
    """

    verb: str
    path: str
    group: str = ""
    version: str = ""
    namespace: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""
    field_requirements: tuple[tuple[str, str, str], ...] = ()
    """What the query's field selector asks of a list, watch or deletecollection: field, `=` or `!=`, value."""


@dataclass(slots=True)
class AdmissionAttributes:
    """One write on its way to the store. Mutating steps change `object` in place or replace it."""

    operation: Operation
    gvk: GVK
    gvr: GVR
    namespace: str
    name: str
    user: UserInfo
    object: Object | None = None
    old_object: Object | None = None
    subresource: str = ""
    dry_run: bool = False
    options: Object = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    audit_annotations: dict[str, str] = field(default_factory=dict)
    """What steps note for the audit log, by full key (`pod-security.kubernetes.io/enforce-policy`)."""
    verb: str = ""
    """Of an update: `update` or `patch`."""
    undo: tuple[Callable[[], None], ...] = ()
    """What gives back at once what the write was given, should it not be made."""


class Reader(Protocol):
    """Reads from the API server's own cache. Objects are the caller's to change."""

    def get(self, gvr: GVR, name: str, namespace: str = "") -> Object | None:
        """The object, or None."""
        ...

    def objects(self, gvr: GVR, namespace: str = "") -> list[Object]:
        """All objects of the resource, of one namespace if given."""
        ...

    def revision(self, gvr: GVR) -> int:
        """The revision of the last change to any object of the resource: what a derived table is cached by."""
        ...

    def listen(self, gvr: GVR, changed: Callable[[str, str], None]) -> None:
        """Call `changed` with namespace and name after each change of the resource; it must be quick."""
        ...
