"""ResourceQuota: a namespace may not hold more than its quotas allow.

`decision` is the rule (pure), `ledger` what a namespace's quotas say and what is really there, `admission` the plugin,
`writing` the compare-and-swap on a quota's status. What is used is written into the quota's status before the object
is stored, as upstream does, so that several API servers on one store agree; within one server the ledger knows better
still: what is there and what is on its way. A namespace without quota costs one look-up.
"""

from kumo.kubernetes.apiserver.admission.quota.admission import ResourceQuota
from kumo.kubernetes.apiserver.admission.quota.ledger import QUOTAS
from kumo.kubernetes.apiserver.admission.quota.writing import QuotaWriter, StatusWriter

__all__ = ["QUOTAS", "QuotaWriter", "ResourceQuota", "StatusWriter"]
