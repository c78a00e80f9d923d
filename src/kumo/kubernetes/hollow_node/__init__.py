"""Hollow nodes: nodes that speak the real API and only say that pods run; for scale, for tests and for teaching.

Each has an identity of its own (`system:node:<name>`), registers, renews its lease and takes the pods that are bound to
it through their lives, as kubemark's hollow kubelets do upstream; no process runs. `node`, `lifecycle`, `statuses` and
`admission` decide and are pure; `fleet` is the component: any number of nodes in one process, with one watch of pods
and one of nodes for all.
"""

from kumo.kubernetes.hollow_node.config import HollowConfig
from kumo.kubernetes.hollow_node.fleet import HollowNodes

__all__ = ["HollowConfig", "HollowNodes"]
