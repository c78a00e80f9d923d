"""The order of the steps, and which resource passes which."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from kumo.kubernetes.apiserver.admission.certificate_approval import CertificateApproval
from kumo.kubernetes.apiserver.admission.certificate_requester import note_requester
from kumo.kubernetes.apiserver.admission.certificate_signing import CertificateSigning
from kumo.kubernetes.apiserver.admission.certificate_subject_restriction import restrict_subject
from kumo.kubernetes.apiserver.admission.hooks import HookCaller
from kumo.kubernetes.apiserver.admission.limit_ranger import LimitRanger
from kumo.kubernetes.apiserver.admission.namespace_lifecycle import NamespaceLifecycle
from kumo.kubernetes.apiserver.admission.node_restriction import NODES_GROUP, NodeRestriction
from kumo.kubernetes.apiserver.admission.pod_defaults import Priority, default_tolerations
from kumo.kubernetes.apiserver.admission.resource_quota import ResourceQuota
from kumo.kubernetes.apiserver.admission.service_account import ServiceAccountAdmission
from kumo.kubernetes.apiserver.admission.service_ips import ServiceAllocator
from kumo.kubernetes.apiserver.admission.storage_class import DefaultStorageClass
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes, Reader
from kumo.kubernetes.apiserver.authorization import Authorizer, check_escalation
from kumo.machinery.extension import AdmissionHook

Step = Callable[[AdmissionAttributes], Awaitable[None] | None]
_PODS, _SERVICES, _CLAIMS = ("", "pods"), ("", "services"), ("", "persistentvolumeclaims")
_SIGNING_REQUESTS = ("certificates.k8s.io", "certificatesigningrequests")
_PRIORITIES = ("scheduling.k8s.io", "priorityclasses")
_RBAC = "rbac.authorization.k8s.io"


@dataclass(frozen=True, slots=True)
class AdmissionConfig:
    """The ranges that services get their addresses (CIDR) and node ports (first, last) from."""

    service_cidr: str = "10.96.0.0/16"
    node_ports: tuple[int, int] = (30000, 32767)


class AdmissionChain:
    """All admission. For each write: `mutate`, then the API server validates, then `validate`, then the store.

    When a write fails after `mutate` (validation, a conflict in the store), `abandon` gives back at once what it was
    given. Both steps raise the StatusError that the client gets; warnings collect in `attrs.warnings`.
    """

    def __init__(
        self,
        hooks: Sequence[AdmissionHook],
        reader: Reader,
        *,
        authorizer: Authorizer | None = None,
        config: AdmissionConfig | None = None,
    ) -> None:
        config = config or AdmissionConfig()
        self._namespaces = NamespaceLifecycle(reader)
        self._services = ServiceAllocator(reader, config.service_cidr, config.node_ports)
        self._authorizer = authorizer
        self._hooks = HookCaller(hooks)
        self._quota = ResourceQuota(reader)
        self._nodes = NodeRestriction(reader, authorizer)
        limits, priority = LimitRanger(reader), Priority(reader)
        self._mutating: dict[tuple[str, str], tuple[Step, ...]] = {
            _PODS: (
                limits.mutate,
                ServiceAccountAdmission(reader).mutate,
                priority.mutate_pod,
                default_tolerations,
            ),
            _CLAIMS: (DefaultStorageClass(reader).mutate,),
            _SIGNING_REQUESTS: (note_requester,),
        }
        self._validating: dict[tuple[str, str], tuple[Step, ...]] = {
            _PODS: (limits.validate,),
            _CLAIMS: (limits.validate,),
            _PRIORITIES: (priority.validate_class,),
            _SIGNING_REQUESTS: (restrict_subject,),
        }

        if authorizer is not None:
            own = (CertificateApproval(authorizer).validate, CertificateSigning(authorizer).validate)
            self._validating[_SIGNING_REQUESTS] += own

    async def mutate(self, attrs: AdmissionAttributes) -> None:
        """Let the write in at all (its namespace), and complete its object."""
        self._namespaces.validate(attrs)
        kind = (attrs.gvr.group, attrs.gvr.resource)
        for step in self._mutating.get(kind, ()):
            waiting = step(attrs)
            if inspect.isawaitable(waiting):
                await waiting
        await self._hooks.mutate(attrs)
        if kind == _SERVICES:
            self._services.mutate(attrs)

    async def validate(self, attrs: AdmissionAttributes) -> None:
        """Judge the object as it would be stored."""
        if NODES_GROUP in attrs.user.groups:
            self._nodes.validate(attrs)
        if attrs.gvr.group == _RBAC and self._authorizer is not None:
            check_escalation(self._authorizer, attrs)
        for step in self._validating.get((attrs.gvr.group, attrs.gvr.resource), ()):
            waiting = step(attrs)
            if inspect.isawaitable(waiting):
                await waiting
        await self._hooks.validate(attrs)
        self._quota.validate(attrs)

    def abandon(self, attrs: AdmissionAttributes) -> None:
        """The write did not reach the store."""
        if attrs.gvr.resource == "services":
            self._services.abandon(attrs)
