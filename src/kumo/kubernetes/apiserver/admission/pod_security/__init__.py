"""PodSecurity: the Pod Security Standards, asked for by labels of a namespace, enforced, audited or warned of.

`policy` reads the labels, `baseline` and `restricted` are the checks as tables by version, `evaluation` runs those of
a level and version, `admission` is the plugin. All but the last are pure. The rules are those of
`k8s.io/pod-security-admission`, versions v1.0 to v1.36 and `latest`.
"""

from kumo.kubernetes.apiserver.admission.pod_security.admission import PodSecurity
from kumo.kubernetes.apiserver.admission.pod_security.config import PodSecurityConfig

__all__ = ["PodSecurity", "PodSecurityConfig"]
