"""NamespaceLifecycle: nothing is written into a namespace that does not exist, nothing new into one that ends."""

from __future__ import annotations

from kumo.api.errors import not_found
from kumo.kubernetes.apiserver.admission.namespaces import NamespaceTable
from kumo.kubernetes.apiserver.admission.refusals import refused
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes

IMMORTAL = frozenset(("default", "kube-system", "kube-public"))
_REVIEWS = ("authorization.k8s.io", "localsubjectaccessreviews")


class NamespaceLifecycle:
    """Judges every write by the namespace that it is for."""

    def __init__(self, namespaces: NamespaceTable) -> None:
        self._namespaces = namespaces

    def validate(self, attrs: AdmissionAttributes) -> None:
        """Raise 404 for a missing namespace, 403 for a new object in an ending one or the end of an immortal one."""
        if attrs.gvr.resource == "namespaces" and not attrs.gvr.group:
            if attrs.operation == "DELETE" and attrs.name in IMMORTAL:
                raise refused(attrs, "this namespace may not be deleted")
            return
        if not attrs.namespace or attrs.operation == "DELETE" or (attrs.gvr.group, attrs.gvr.resource) == _REVIEWS:
            return
        facts = self._namespaces.get(attrs.namespace)
        if facts is None:
            raise not_found("", "namespaces", attrs.namespace)
        if facts.ending and attrs.operation == "CREATE":
            why = f"unable to create new content in namespace {attrs.namespace} because it is being terminated"
            error = refused(attrs, why)
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {attrs.namespace} is being terminated",
                "field": "metadata.namespace",
            }
            error.details = {**(error.details or {}), "causes": [cause]}
            raise error
