"""The order of admission: plugins, hooks, quota."""

from __future__ import annotations

from collections.abc import Sequence

from kumo.kubernetes.apiserver.admission.config import AdmissionConfig
from kumo.kubernetes.apiserver.admission.dynamic import DynamicAdmission
from kumo.kubernetes.apiserver.admission.hooks import HookCaller
from kumo.kubernetes.apiserver.admission.namespace_lifecycle import NamespaceLifecycle
from kumo.kubernetes.apiserver.admission.namespaces import NamespaceTable
from kumo.kubernetes.apiserver.admission.node_components import ComponentRestriction
from kumo.kubernetes.apiserver.admission.node_restriction import NODES_GROUP, NodeRestriction
from kumo.kubernetes.apiserver.admission.plugins import Plugins
from kumo.kubernetes.apiserver.admission.quota import QuotaWriter, ResourceQuota
from kumo.kubernetes.apiserver.admission.service_ips import ServiceAllocator
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes, Reader
from kumo.kubernetes.apiserver.authorization import Authorizer, check_escalation
from kumo.machinery.extension import AdmissionHook

_SERVICES = ("", "services")
_RBAC = "rbac.authorization.k8s.io"


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
        quota_writer: QuotaWriter | None = None,
        dynamic: DynamicAdmission | None = None,
    ) -> None:
        config = config or AdmissionConfig()
        namespaces = NamespaceTable(reader)
        self._namespaces = NamespaceLifecycle(namespaces)
        self._plugins = Plugins(reader, namespaces, config, authorizer)
        self._services = ServiceAllocator(reader, config.service_cidr, config.node_ports)
        self._authorizer = authorizer
        self._hooks = HookCaller(hooks)
        self._dynamic = dynamic
        self._quota = ResourceQuota(reader, quota_writer, config.limited_resources)
        self._nodes = NodeRestriction(reader, authorizer)
        self._components = ComponentRestriction(reader, self._nodes)

    async def mutate(self, attrs: AdmissionAttributes) -> None:
        """Let the write in at all (its namespace), and complete its object."""
        self._namespaces.validate(attrs)
        await self._plugins.mutating.run(attrs)
        await self._hooks.mutate(attrs)
        if self._dynamic is not None:
            await self._dynamic.mutate(attrs, self._plugins.mutating.run)
        if (attrs.gvr.group, attrs.gvr.resource) == _SERVICES:
            self._services.mutate(attrs)

    async def validate(self, attrs: AdmissionAttributes) -> None:
        """Judge the object as it would be stored."""
        if NODES_GROUP in attrs.user.groups:
            self._nodes.validate(attrs)
        if attrs.user.extra:
            self._components.validate(attrs)
        if attrs.gvr.group == _RBAC and self._authorizer is not None:
            check_escalation(self._authorizer, attrs)
        await self._plugins.validating.run(attrs)
        await self._hooks.validate(attrs)
        if self._dynamic is not None:
            await self._dynamic.validate(attrs)
        await self._quota.validate(attrs)

    async def connect(self, attrs: AdmissionAttributes) -> None:
        """Judge a connection (exec, attach, port-forward, proxy), which no built-in step is about."""
        await self._hooks.mutate(attrs)
        if self._dynamic is not None:
            await self._dynamic.mutate(attrs, _nothing)
        await self._hooks.validate(attrs)
        if self._dynamic is not None:
            await self._dynamic.validate(attrs)

    def abandon(self, attrs: AdmissionAttributes) -> None:
        """The write did not reach the store."""
        if attrs.gvr.resource == "services":
            self._services.abandon(attrs)
        self._quota.abandon(attrs)

    def lines(self) -> list[str]:
        """What service addresses and node ports are given and left, for /metrics."""
        return self._services.lines()


async def _nothing(attrs: AdmissionAttributes) -> None:
    """No built-in steps."""
