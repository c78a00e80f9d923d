"""Certificate signing requests made true: approved where that is safe, signed by the cluster's CA, cleaned away.

Three controllers, as upstream's: `csrapproving`, `csrsigning` (one for each signer of the cluster) and `csrcleaner`; a
fourth approves kubelets' server certificates, which upstream leaves to the installer.
"""

from kumo.kubernetes.controller_manager.certificates.approving import SigningRequestApprover
from kumo.kubernetes.controller_manager.certificates.authority import SigningAuthority
from kumo.kubernetes.controller_manager.certificates.cleaning import SigningRequestCleaner
from kumo.kubernetes.controller_manager.certificates.serving import ServingRequestApprover
from kumo.kubernetes.controller_manager.certificates.signing import SigningRequestSigner

__all__ = [
    "ServingRequestApprover",
    "SigningAuthority",
    "SigningRequestApprover",
    "SigningRequestCleaner",
    "SigningRequestSigner",
]
