"""What form of answer a client accepts: JSON, a Table, or metadata only; compressed or not.

Media types as `apiserver/pkg/endpoints/handlers/negotiation` reads them: the parameters `as`, `g` and `v` ask for a
conversion into a meta/v1 kind.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, NamedTuple

from kumo.api.errors import StatusError

Form = Literal["", "Table", "PartialObjectMetadata", "PartialObjectMetadataList"]


class Accepted(NamedTuple):
    """The form to answer in (empty: the object itself), its version, and whether as YAML."""

    form: Form = ""
    version: str = "v1"
    yaml: bool = False


class MediaRange(NamedTuple):
    """One entry of an Accept header."""

    type: str
    parameters: dict[str, str]


@lru_cache(maxsize=256)
def media_ranges(header: str) -> tuple[MediaRange, ...]:
    """The entries of an Accept header, the most wanted first."""
    found = []
    for position, item in enumerate(header.split(",")):
        kind, *rest = (part.strip() for part in item.split(";"))
        parameters = {k.strip().lower(): v.strip() for k, _, v in (part.partition("=") for part in rest)}
        try:
            quality = float(parameters.pop("q", "1"))
        except ValueError:
            quality = 1.0
        if kind:
            found.append((-quality, position, MediaRange(kind.lower(), parameters)))
    return tuple(entry for _, _, entry in sorted(found, key=lambda f: f[:2]))


_WHOLE = Accepted()


@lru_cache(maxsize=256)
def accepted(header: str) -> Accepted:
    """The form for an Accept header. Raises 406 when nothing in it can be served (protobuf alone, say)."""
    if not header or header in ("*/*", "application/json"):
        return _WHOLE
    for entry in media_ranges(header):
        if entry.type not in ("application/json", "application/yaml", "*/*", "application/*"):
            continue
        yaml = entry.type == "application/yaml"
        wanted = entry.parameters.get("as", "")
        if not wanted:
            return Accepted(yaml=yaml)
        version = entry.parameters.get("v", "v1")
        if entry.parameters.get("g") == "meta.k8s.io" and version in ("v1", "v1beta1"):
            if wanted == "Table":
                return Accepted("Table", version, yaml)
            if wanted == "PartialObjectMetadata":
                return Accepted("PartialObjectMetadata", version, yaml)
            if wanted == "PartialObjectMetadataList":
                return Accepted("PartialObjectMetadataList", version, yaml)
    raise not_acceptable("application/json, application/yaml")


def not_acceptable(supported: str) -> StatusError:
    """406: none of the media types that the client accepts can be served."""
    text = f"406: Not Acceptable\n\nAvailable representations: {supported}"
    return StatusError(406, "NotAcceptable", text, {})
