"""What is in a cluster before anybody has created anything, put right at every start of the API server.

The default roles and bindings of upstream (with their rules for reconciling: what is missing is added, what an
administrator added stays, `autoupdate: "false"` is left alone), the four namespaces, the system priority classes, the
`kubernetes` service with its endpoints, and whatever other wings hand in.

Talks to: a `Client` of the API server, as a member of `system:masters`.
"""

from kumo.kubernetes.apiserver.bootstrap.bootstrapper import BootstrapConfig, bootstrap, own_service
from kumo.kubernetes.apiserver.bootstrap.default_roles import default_rbac, node_rules
from kumo.kubernetes.apiserver.bootstrap.own_endpoints import OwnEndpoints

__all__ = ["BootstrapConfig", "OwnEndpoints", "bootstrap", "default_rbac", "node_rules", "own_service"]
