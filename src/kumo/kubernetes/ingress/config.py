"""What the ingress controller of a node has to know."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kumo.api.node_components import (
    INGRESS_CONTROLLER,
    INGRESS_NAMESPACE,
    INGRESS_SECRET,
    INGRESS_SERVICE,
    INGRESS_USER,
)

CLASS = "kumo"
"""The name of the IngressClass that `kumo up` makes."""
CONTROLLER = INGRESS_CONTROLLER
"""What an IngressClass of this controller has in `spec.controller`."""
USER = INGRESS_USER
NAMESPACE, SERVICE = INGRESS_NAMESPACE, INGRESS_SERVICE
"""The load balancer in front of haproxy."""
DEFAULT_SECRET = INGRESS_SECRET
"""The secret (kubernetes.io/tls, in `NAMESPACE`) whose certificate is shown where no other is; it need not be there."""


@dataclass(frozen=True, slots=True)
class IngressConfig:
    """haproxy listens at `address` (and at `address6`, if there is one) on `http_port` and `https_port`.

    Its files are in `directory`. `dns` (`host:port`) is asked for the addresses of ExternalName Services; without it
    they are not led to. One that is not `leading` serves, and leaves it to others to make the load balancer, to write
    the Ingresses' status and to tell what is amiss; it reads the secrets that Ingresses name, and no others.
    """

    node_name: str
    address: str
    directory: Path
    http_port: int = 10080
    https_port: int = 10443
    binary: str = "haproxy"
    address6: str = ""
    dns: str = ""
    leading: bool = True

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where haproxy listens, IPv4 first."""
        return tuple(a for a in (self.address, self.address6) if a)
