"""virt-api's admission hooks: defaults first, then the rules.

`hooks.admission_hooks` gives them all, under the names of upstream's webhooks; each takes an AdmissionReview and gives
one. `machines`, `instances`, `migrations` and `others` hold what each decides, `lookup` reads what they refer to.
"""

from kumo.kubevirt.virt_api.admission.hooks import admission_hooks

__all__ = ["admission_hooks"]
