"""What the ingress controller of a node has to know."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

CLASS = "kumo"
"""The name of the IngressClass that `kumo up` makes."""
CONTROLLER = "kumo.dev/ingress"
"""What an IngressClass of this controller has in `spec.controller`."""
USER = "system:ingress-controller"
NAMESPACE, SERVICE = "kube-system", "kumo-ingress"
"""The load balancer in front of haproxy."""


@dataclass(frozen=True, slots=True)
class IngressConfig:
    """haproxy listens at `address` on `http_port` and `https_port`; its files are in `directory`."""

    node_name: str
    address: str
    directory: Path
    http_port: int = 10080
    https_port: int = 10443
    binary: str = "haproxy"
