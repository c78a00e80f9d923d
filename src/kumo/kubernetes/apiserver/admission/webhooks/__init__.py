"""Admission webhooks by objects: MutatingWebhookConfiguration and ValidatingWebhookConfiguration, called over HTTPS.

`configuration` reads the objects, `index` knows which webhooks a request concerns, `reviews` makes and checks the
AdmissionReview, `calling` and `connections` carry it, `dispatch` decides what an answer means. Without any
configuration a write costs one attribute's look.

Talks to: the object cache (`Reader`), the registry (equivalent versions), the webhooks.
"""

from kumo.kubernetes.apiserver.admission.webhooks.dispatch import Webhooks

__all__ = ["Webhooks"]
