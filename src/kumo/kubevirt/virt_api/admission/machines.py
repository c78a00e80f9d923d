"""VirtualMachines: defaults when they are written, and the rules."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from kumo.api.errors import Cause, StatusError
from kumo.api.objects import Object, is_deleting
from kumo.kubevirt.common.config import ClusterConfig
from kumo.kubevirt.common.defaults import DefaultsError
from kumo.kubevirt.common.instancetypes import Conflict, apply, check_requirements, check_spread
from kumo.kubevirt.common.specs import child
from kumo.kubevirt.virt_api.admission.lookup import Found, find_spec
from kumo.kubevirt.virt_api.admission.review import ALLOWED, Request, Verdict, failed, put, refused
from kumo.kubevirt.virt_api.defaults.instance import set_spec_defaults
from kumo.kubevirt.virt_api.defaults.machine import new_machine
from kumo.kubevirt.virt_api.schema.machine import MACHINE
from kumo.kubevirt.virt_api.validation.causes import invalid, not_found
from kumo.kubevirt.virt_api.validation.machine import machine_rules, matcher_causes
from kumo.kubevirt.virt_api.validation.network import discontinued_rules
from kumo.kubevirt.virt_api.validation.schema_check import check_schema
from kumo.machinery.client import Client

RUNNING_DEPRECATED = "spec.running is deprecated, please use spec.runStrategy instead."


class MachineHooks:
    """The mutating and the validating hook of VirtualMachines."""

    def __init__(self, client: Client, config: Callable[[], ClusterConfig]) -> None:
        self._client = client
        self._config = config

    async def mutate(self, request: Request) -> Verdict:
        """Fill in the defaults."""
        vm = request.new
        problems = check_schema(MACHINE, vm)
        if problems:
            return refused(problems)
        if is_deleting(vm):
            return ALLOWED
        causes = matcher_causes(vm, None if request.creating else request.old)
        if causes:
            return refused(causes)
        preference = (await self._find(vm, request.namespace)).preference
        try:
            made = new_machine(self._config(), vm, preference, creating=request.creating)
        except ValueError as error:
            return failed(str(error))
        return Verdict(patch=put(spec=made["spec"], metadata=made["metadata"]))

    async def validate(self, request: Request) -> Verdict:
        """Check the VM as it would be started."""
        vm = request.new
        problems = check_schema(MACHINE, vm)
        if problems:
            return refused(problems)
        if is_deleting(vm):
            return ALLOWED
        try:
            causes = self._causes(vm, await self._find(vm, request.namespace), request)
        except (DefaultsError, ValueError) as error:
            return failed(str(error))
        if causes:
            return refused(causes)
        deprecated = (vm.get("spec") or {}).get("running") is not None
        return Verdict(warnings=(RUNNING_DEPRECATED,) if deprecated else ())

    def _causes(self, vm: Object, found: Found, request: Request) -> list[Cause]:
        config, spec = self._config(), copy.deepcopy(vm["spec"])
        template = child(spec, "template")
        instance: dict[str, Any] = child(template, "spec")
        try:
            check_spread(found.instancetype, found.preference)
            annotations = dict((template.get("metadata") or {}).get("annotations") or {})
            apply(found.instancetype, found.preference, instance, annotations)
        except Conflict as conflict:
            return [invalid(field, message) for field, message in conflict.causes()]
        set_spec_defaults(config, instance)
        try:
            check_requirements(found.instancetype, found.preference, instance)
        except Conflict as conflict:
            message = f"failure checking preference requirements: {conflict}"
            return [not_found(", ".join(conflict.fields), message)]
        if request.creating:
            discontinued = list(discontinued_rules("spec", instance))
            if discontinued:
                return discontinued
        return list(machine_rules(spec, config, own_component=request.own_component))

    async def _find(self, vm: Object, namespace: str) -> Found:
        """What the VM refers to, as far as it is there: what is missing may come later."""
        specs: list[dict[str, Any] | None] = []
        for which in ("instancetype", "preference"):
            try:
                specs.append(await find_spec(self._client, vm, which, namespace))
            except (StatusError, ValueError):
                specs.append(None)
        return Found(*specs)
