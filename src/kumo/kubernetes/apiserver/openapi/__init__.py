"""OpenAPI documents of what is served: v3 (an index, one document a group and version) and v2 (one for everything).

kubectl reads them for `explain` and to learn what the server supports. `Documents` is made anew whenever what is served
changes; each document is built when first asked for and kept as bytes. Used by the API server's paths only.
"""

from kumo.kubernetes.apiserver.openapi.documents import Document, Documents, Served, document_of, in_binary

__all__ = ["Document", "Documents", "Served", "document_of", "in_binary"]
