"""What every write passes between authorization and the store: first steps that may change it, then steps that judge.

One module a step, under upstream's plugin names: NamespaceLifecycle, LimitRanger, ServiceAccount, NodeRestriction,
Priority, DefaultTolerationSeconds, DefaultStorageClass, ResourceQuota, the RBAC escalation checks, the allocation of
service addresses and node ports, and the hooks of other wings (admission webhooks called straight). The chain knows
which steps a resource needs, so that a write of a ConfigMap pays for none of the pods' steps.

Talks to: the object cache (`Reader`), the `Authorizer`, and hooks (`kumo.machinery.extension`).
"""

from kumo.kubernetes.apiserver.admission.chain import AdmissionChain
from kumo.kubernetes.apiserver.admission.config import AdmissionConfig
from kumo.kubernetes.apiserver.admission.hooks import HookCaller

__all__ = ["AdmissionChain", "AdmissionConfig", "HookCaller"]
