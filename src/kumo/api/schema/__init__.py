"""Schemas: what fields a kind has, and how they merge. Data for built-in kinds, taken from the CRD for custom ones.

`builtin_schema(gvk)` and `crd_schema(...)` give a `KindSchema`; its `root` and `field(...)` are `Node`s, which the
patches of `kumo.api.patch` walk. The API server decodes, prunes and defaults with it, and serves it as OpenAPI.
"""

from kumo.api.schema.custom import CustomKindSchema, crd_schema
from kumo.api.schema.decoding import DecodeError
from kumo.api.schema.kind import BuiltinKindSchema, Decoded, KindSchema, builtin_schema, cannot_handle
from kumo.api.schema.nodes import Node

__all__ = [
    "BuiltinKindSchema",
    "CustomKindSchema",
    "DecodeError",
    "Decoded",
    "KindSchema",
    "Node",
    "builtin_schema",
    "cannot_handle",
    "crd_schema",
]
