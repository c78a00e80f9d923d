"""Bootstrap tokens (Secrets `bootstrap-token-<id>` in kube-system): what they sign, and their end."""

from kumo.kubernetes.controller_manager.bootstrap_tokens.cleaning import BootstrapTokenCleaner
from kumo.kubernetes.controller_manager.bootstrap_tokens.signing import BootstrapSigner

__all__ = ["BootstrapSigner", "BootstrapTokenCleaner"]
