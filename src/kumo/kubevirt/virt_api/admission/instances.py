"""VirtualMachineInstances: defaults at creation, the rules, and who may write their spec and status."""

from __future__ import annotations

from collections.abc import Callable

from kumo.api.objects import Object
from kumo.kubevirt.common.config import ClusterConfig
from kumo.kubevirt.common.defaults import DefaultsError
from kumo.kubevirt.common.names import HANDLER_USER, NODE_USER_PREFIX
from kumo.kubevirt.virt_api.admission.review import ALLOWED, Request, Verdict, failed, put, refused
from kumo.kubevirt.virt_api.defaults.instance import new_instance
from kumo.kubevirt.virt_api.schema.instance import INSTANCE
from kumo.kubevirt.virt_api.validation.causes import invalid
from kumo.kubevirt.virt_api.validation.instance import creation_causes, update_causes
from kumo.kubevirt.virt_api.validation.schema_check import check_schema

_FOREIGN = "Node restriction, virt-handler is only allowed to modify VMIs it owns"
_TARGET = "Node restriction, virt-handler is not allowed to set target node"


class InstanceHooks:
    """The mutating hook and the two validating ones of VirtualMachineInstances."""

    def __init__(self, config: Callable[[], ClusterConfig]) -> None:
        self._config = config

    async def mutate(self, request: Request) -> Verdict:
        """Fill in the defaults of a new one; undo changes of the status by others than KubeVirt.

        There is no status subresource: labels and status of an instance are written together.
        """
        problems = check_schema(INSTANCE, request.new)
        if problems:
            return refused(problems)
        if not request.creating:
            if request.new.get("status") != request.old.get("status") and not request.own_component:
                return Verdict(patch=_status_back(request))
            return ALLOWED
        try:
            made = new_instance(self._config(), request.new)
        except (DefaultsError, ValueError) as error:
            return failed(str(error))
        return Verdict(patch=put(spec=made["spec"], metadata=made["metadata"], status=made["status"]))

    async def validate_creation(self, request: Request) -> Verdict:
        """Check a new instance."""
        try:
            causes = creation_causes(request.new, self._config(), own_component=request.own_component)
        except ValueError as error:
            return failed(str(error))
        return refused(causes) if causes else ALLOWED

    async def validate_update(self, request: Request) -> Verdict:
        """Check a change: nobody but KubeVirt changes the spec, and a node only its own instances."""
        if self._config().gate("NodeRestriction"):
            foreign = _node_problem(request.user, request.new, request.old)
            if foreign:
                return refused([invalid("", foreign)])
        causes = update_causes(request.new, request.old, own_component=request.own_component)
        return refused(causes) if causes else ALLOWED


def _status_back(request: Request) -> tuple[dict[str, object], ...]:
    old = request.old.get("status")
    if old is None and "status" not in request.new:
        return ()
    return put(status=old)


def _node_problem(user: str, new: Object, old: Object) -> str:
    """Why a node's agent may not write this. Only nodes that prove their name are held to it."""
    if user == HANDLER_USER or not user.startswith(NODE_USER_PREFIX):
        return ""
    node, was, now = user.removeprefix(NODE_USER_PREFIX), old.get("status") or {}, new.get("status") or {}
    target = (was.get("migrationState") or {}).get("targetNode") or ""
    if node not in (was.get("nodeName"), target or None):
        return _FOREIGN
    if not target and (now.get("migrationState") or {}).get("targetNode"):
        return _TARGET
    return ""
