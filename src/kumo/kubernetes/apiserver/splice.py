"""The bytes of an object: stored without resourceVersion, served with it.

A stored value is the object's JSON with the keys `apiVersion, kind, metadata` first, so that the first `"metadata":{`
is the object's own. The revision is known only once the value is stored; it goes in right there, as bytes.
"""

from __future__ import annotations

from typing import Any

import msgspec

from kumo.api.objects import Object

_METADATA = b'"metadata":{'
_VERSION = b'"metadata":{"resourceVersion":"'
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def to_stored(obj: Object) -> bytes:
    """The value to store: the object's JSON without its resourceVersion, the keys in the agreed order."""
    meta = obj["metadata"]
    if "resourceVersion" in meta:
        meta = {k: v for k, v in meta.items() if k != "resourceVersion"}
    ordered = {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": meta}
    ordered.update((k, v) for k, v in obj.items() if k not in ordered)
    return _encode(ordered)


def with_revision(stored: bytes, revision: int) -> bytes:
    """The stored value with `revision` as `metadata.resourceVersion`."""
    at = stored.index(_METADATA) + len(_METADATA)
    comma = b"" if stored[at : at + 1] == b"}" else b","
    return b'%b"resourceVersion":"%d"%b%b' % (stored[:at], revision, comma, stored[at:])


def at_revision(served: bytes, revision: int) -> bytes:
    """The served value with another revision: a deleted object is shown at the revision of its deletion."""
    start = served.index(_VERSION) + len(_VERSION)
    return b"%b%d%b" % (served[:start], revision, served[served.index(b'"', start) :])


def at_version(served: bytes, api_version: str) -> bytes:
    """The served value with another `apiVersion`, for resources whose versions differ in nothing else."""
    start = served.index(b'"apiVersion":"') + 14
    return b"%b%b%b" % (served[:start], api_version.encode(), served[served.index(b'"', start) :])


def from_served(served: bytes) -> Object:
    """The object."""
    found: Object = _decode(served)
    return found


def encode(value: Any) -> bytes:
    """Any JSON value as bytes."""
    return _encode(value)


def beginning(api_version: str) -> bytes:
    """How every value of that API version begins, stored or served."""
    return b'{"apiVersion":"%b"' % api_version.encode()


def same_stored(served: bytes, stored: bytes) -> bool:
    """Whether a served value is the stored one, but for its revision and the order of keys."""
    now, then = _decode(stored), _decode(served)
    then["metadata"].pop("resourceVersion", None)
    return bool(now == then)
