"""What an API server is told when it is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kumo.api.objects import Object
from kumo.api.resources import GVR
from kumo.kubernetes.apiserver.aggregation.config import AggregationConfig
from kumo.kubernetes.apiserver.authentication.config import AuthenticationConfig
from kumo.kubernetes.apiserver.operation_config import OperationConfig
from kumo.machinery.extension import AdmissionHook, ApiGroup, TokenAuthenticator


@dataclass(frozen=True, slots=True)
class ApiServerConfig:
    """Paths are files that exist; times are seconds."""

    service_account_key: Path
    """The P-256 key (PEM) that signs service-account tokens."""
    service_account_issuer: str = "https://kubernetes.default.svc.cluster.local"
    ca_certificate: Path | None = None
    """The cluster's CA, by which kubelets are known."""
    kubelet_client_certificate: Path | None = None
    kubelet_client_key: Path | None = None
    """How the API server proves itself to kubelets (logs, exec, attach, port-forward)."""
    advertise_address: str = "127.0.0.1"
    port: int = 6443
    """Where this API server is reached: the endpoint of the service `default/kubernetes`."""
    service_cidr: str = "10.96.0.0/16"
    """The range of services' addresses, or two ranges of different families, by comma: the first is the default."""
    node_port_range: tuple[int, int] = (30000, 32767)
    anonymous: bool = True
    """Whether requests without any proof are let in as system:anonymous (and then meet RBAC)."""
    authentication: AuthenticationConfig = field(default_factory=AuthenticationConfig)
    aggregation: AggregationConfig = field(default_factory=AggregationConfig)
    """How the API server proves itself to aggregated API servers."""
    operation: OperationConfig = field(default_factory=OperationConfig)
    event_ttl: float = 3600.0
    compaction_interval: float = 300.0
    """History younger than this can be read; older is forgotten at this pace."""
    admission: Mapping[str, Any] = field(default_factory=dict)
    """The plugins' configuration: fields of `admission.AdmissionConfig`, as `plugin_options` reads them of a file."""
    groups: Sequence[ApiGroup] = ()
    hooks: Sequence[AdmissionHook] = ()
    token_authenticators: Sequence[TokenAuthenticator] = ()
    default_objects: Sequence[tuple[GVR, Object]] = ()
    """Objects of other components that must be there before anybody asks: created at start if missing."""
