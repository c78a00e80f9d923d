"""What a ResourceQuota counts, shared by the API server (which refuses) and the quota controller (which recounts).

No I/O. `amounts` is arithmetic on named quantities, `usage` what one object counts for, `scopes` which objects a quota
looks at, `tracking` which resources its names are about, `tally` the running total of a namespace. The rules are those
of `k8s.io/apiserver/pkg/quota/v1` and `pkg/quota/v1/evaluator/core`.
"""

from kumo.api.quota.amounts import Amount, Amounts, parse_amounts, texts
from kumo.api.quota.scopes import in_scope, scope_terms
from kumo.api.quota.tally import Tally
from kumo.api.quota.tracking import Resource, names_of, resources_of
from kumo.api.quota.usage import counted_until, usage

__all__ = [
    "Amount",
    "Amounts",
    "Resource",
    "Tally",
    "counted_until",
    "in_scope",
    "names_of",
    "parse_amounts",
    "resources_of",
    "scope_terms",
    "texts",
    "usage",
]
