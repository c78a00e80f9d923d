"""Request bodies in Kubernetes' protobuf form, which typed clients (kubectl's `create` commands, `auth`) send.

Answers are always JSON, which those clients accept as well. `decode(data)` gives the object as JSON has it; the field
numbers are in `fields.txt`, made by `make setup` (tools/generate_protobuf.py). Used by `bodies` only.
"""

from kumo.kubernetes.apiserver.protobuf.decoding import MEDIA_TYPE, ProtobufError, decode

__all__ = ["MEDIA_TYPE", "ProtobufError", "decode"]
