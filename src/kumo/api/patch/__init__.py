"""Patches: the four ways in which a client says what to change, as pure functions of an object.

`json_patch` (RFC 6902), `merge_patch` (RFC 7386), `strategic` (by the schema's merge keys) and `apply` (server-side
apply, which also tracks who manages which field). All give a new object; the API server decides what to do with it.
"""
