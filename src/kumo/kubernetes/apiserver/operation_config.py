"""How an API server is operated: limits, time-outs, audit, encryption."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kumo.kubernetes.apiserver.audit.config import AuditConfig


@dataclass(frozen=True, slots=True)
class OperationConfig:
    """How the server is operated: limits in requests, times in seconds (upstream's defaults)."""

    max_requests_inflight: int = 400
    max_mutating_requests_inflight: int = 200
    """Together the seats that priority levels share; each on its own when priority and fairness is off."""
    priority_and_fairness: bool = True
    request_timeout: float = 60.0
    shutdown_delay: float = 0.0
    """How long the server goes on answering while it already says that it is not ready."""
    audit: AuditConfig | None = None
    encryption: Path | None = None
    """The EncryptionConfiguration."""

    def flags(self) -> dict[str, str]:
        """The options by the names that kube-apiserver has for them."""
        audit = self.audit
        return {
            "enable-priority-and-fairness": str(self.priority_and_fairness).lower(),
            "max-requests-inflight": str(self.max_requests_inflight),
            "max-mutating-requests-inflight": str(self.max_mutating_requests_inflight),
            "request-timeout": f"{self.request_timeout:g}s",
            "shutdown-delay-duration": f"{self.shutdown_delay:g}s",
            "encryption-provider-config": str(self.encryption or ""),
            "audit-policy-file": str(audit.policy) if audit else "",
            "audit-log-path": audit.log_path if audit else "",
            "audit-log-maxsize": str(audit.log_max_size) if audit else "0",
            "audit-log-maxbackup": str(audit.log_max_backups) if audit else "0",
            "audit-log-maxage": str(audit.log_max_age) if audit else "0",
            "audit-webhook-config-file": str(audit.webhook or "") if audit else "",
        }
