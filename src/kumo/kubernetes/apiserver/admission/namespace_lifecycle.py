"""NamespaceLifecycle: nothing is written into a namespace that does not exist, nothing new into one that ends."""

from __future__ import annotations

from kumo.api.errors import not_found
from kumo.api.objects import is_deleting, name_of
from kumo.api.resources import NAMESPACES
from kumo.kubernetes.apiserver.admission.refusals import refused
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes, Reader

IMMORTAL = frozenset(("default", "kube-system", "kube-public"))
_REVIEWS = frozenset(("localsubjectaccessreviews", "selfsubjectrulesreviews"))


class NamespaceLifecycle:
    """Knows each namespace and whether it is ending; reads the cache again when a namespace has changed."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._revision = -1
        self._ending: dict[str, bool] = {}

    def validate(self, attrs: AdmissionAttributes) -> None:
        """Raise 404 for a missing namespace, 403 for a new object in an ending one or the end of an immortal one."""
        if attrs.gvr.resource == "namespaces" and not attrs.gvr.group:
            if attrs.operation == "DELETE" and attrs.name in IMMORTAL and not attrs.subresource:
                raise refused(attrs, "this namespace may not be deleted")
            return
        if not attrs.namespace or attrs.operation == "DELETE" or attrs.gvr.resource in _REVIEWS:
            return
        ending = self._state(attrs.namespace)
        if ending is None:
            raise not_found("", "namespaces", attrs.namespace)
        if ending and attrs.operation == "CREATE":
            why = f"unable to create new content in namespace {attrs.namespace} because it is being terminated"
            error = refused(attrs, why)
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {attrs.namespace} is being terminated",
                "field": "metadata.namespace",
            }
            error.details = {**(error.details or {}), "causes": [cause]}
            raise error

    def _state(self, namespace: str) -> bool | None:
        revision = self._reader.revision(NAMESPACES)
        if revision != self._revision:
            self._ending = {
                name_of(o): is_deleting(o) or (o.get("status") or {}).get("phase") == "Terminating"
                for o in self._reader.objects(NAMESPACES)
            }
            self._revision = revision
        return self._ending.get(namespace)
