"""One request to a resource, with everything that was found out about it before its handler is called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kumo.api.errors import Cause, StatusError, bad_request, invalid
from kumo.api.users import UserInfo
from kumo.kubernetes.apiserver.attributes import RequestInfo
from kumo.kubernetes.apiserver.negotiation import Accepted, accepted
from kumo.kubernetes.apiserver.registry import Resource
from kumo.kubernetes.apiserver.request_info import flag
from kumo.kubernetes.apiserver.visit import Visit
from kumo.machinery.http import Request


@dataclass(slots=True)
class Call:
    """A request for `resource`; `warnings` become the Warning header of its answer."""

    request: Request
    info: RequestInfo
    user: UserInfo
    resource: Resource
    query: dict[str, str]
    warnings: list[str] = field(default_factory=list)
    begun: Callable[[], None] | None = None
    """To be called when a watch has shown what was there at its beginning."""
    large: bool = False
    """Whether the object is large, see `slicing.aside`."""

    @property
    def audit_annotations(self) -> dict[str, str]:
        """Where admission notes what auditors should know of the request."""
        return audit_annotations(self.request)

    @property
    def group(self) -> str:
        """The resource's group."""
        return self.info.group

    @property
    def namespace(self) -> str:
        """The namespace of the object or collection, empty for a cluster-scoped resource."""
        return self.info.namespace if self.resource.type.namespaced else ""

    @property
    def accepted(self) -> Accepted:
        """The form that the client wants the answer in. Raises 406."""
        return accepted(self.request.headers.get("accept", ""))

    def flag(self, name: str) -> bool:
        """Whether the query sets the flag."""
        return flag(self.query, name)

    def dry_run(self, options: dict[str, Any] | None = None) -> bool:
        """Whether nothing may be kept (`dryRun=All`). Raises 422 for any other value."""
        stated = (options or {}).get("dryRun")
        values = stated if isinstance(stated, list) else [self.query["dryRun"]] if self.query.get("dryRun") else []
        if not values:
            return False
        if any(value != "All" for value in values):
            text = f'Unsupported value: {_quoted(values)}: supported values: "All"'
            kind = {"delete": "DeleteOptions", "deletecollection": "DeleteOptions", "patch": "PatchOptions"}.get(
                self.info.verb, "UpdateOptions" if self.info.verb == "update" else "CreateOptions"
            )
            raise invalid("meta.k8s.io", kind, "", [Cause("dryRun", text, "FieldValueNotSupported")])
        return True

    def field_validation(self) -> str:
        """Ignore, Warn (the default) or Strict. Raises 422 for anything else."""
        found = self.query.get("fieldValidation") or "Warn"
        if found not in ("Ignore", "Warn", "Strict"):
            text = f'Unsupported value: "{found}": supported values: "Ignore", "Strict", "Warn"'
            raise invalid(
                "meta.k8s.io", "CreateOptions", "", [Cause("fieldValidation", text, "FieldValueNotSupported")]
            )
        return found


def _quoted(values: list[Any]) -> str:
    return ", ".join(f'"{value}"' for value in values)


def number(call: Call, name: str) -> int:
    """A whole number of the query, 0 when absent. Raises 400."""
    text = call.query.get(name, "")
    if not text:
        return 0
    try:
        found = int(text)
    except ValueError:
        raise bad_number(text) from None
    if not -(1 << 63) <= found < 1 << 63:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": value out of range')
    return found


def bad_number(text: str) -> StatusError:
    """400: a number is none."""
    return bad_request(f'strconv.ParseInt: parsing "{text[:40]}": invalid syntax')


def audit_annotations(request: Request) -> dict[str, str]:
    """Where to note what auditors should know of the request; what nobody audits is noted in vain."""
    visit = request.context
    if not isinstance(visit, Visit):
        return {}
    if visit.audit_annotations is None:
        visit.audit_annotations = {}
    return visit.audit_annotations
