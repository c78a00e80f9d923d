"""Pods and what is made of pods' templates: defaults, validation, what an update may change, warnings.

`validate_pod_spec` and `validate_template` say what is wrong with a spec wherever it stands; `defaults`, `updates`,
`resize`, `statuses` and `warnings` hold the rest of what upstream keeps in `pkg/apis/core` and `pkg/registry/core/pod`.
Used by the kinds' rules only.
"""

from kumo.kubernetes.apiserver.kinds.pod.options import Options
from kumo.kubernetes.apiserver.kinds.pod.spec import validate_pod_spec
from kumo.kubernetes.apiserver.kinds.pod.template import validate_template

__all__ = ["Options", "validate_pod_spec", "validate_template"]
