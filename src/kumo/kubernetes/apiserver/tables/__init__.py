"""Tables as `kubectl get` shows them: `meta.k8s.io/v1` Table, one row an object, columns by kind.

`table(...)` makes one. Each module has the columns and cells of a few kinds, as upstream's
`pkg/printers/internalversion`; custom kinds bring their own columns. Used by the API server's handlers only.
"""

from kumo.kubernetes.apiserver.tables.duration import human_duration
from kumo.kubernetes.apiserver.tables.table import IncludeObject, columns_of, row, table

__all__ = ["IncludeObject", "columns_of", "human_duration", "row", "table"]
