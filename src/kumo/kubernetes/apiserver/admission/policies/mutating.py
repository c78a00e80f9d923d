"""MutatingAdmissionPolicy: policies change the object one after the other, in the order of their names."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec

from kumo.api.errors import StatusError, unavailable
from kumo.api.objects import Object
from kumo.api.resources import GVR
from kumo.kubernetes.apiserver.admission.bindings import Bindings
from kumo.kubernetes.apiserver.admission.conditions import ConditionsFailed
from kumo.kubernetes.apiserver.admission.equivalents import Equivalents
from kumo.kubernetes.apiserver.admission.matching import Target, asked, is_exempt
from kumo.kubernetes.apiserver.admission.policies.application import (
    MutationFailed,
    apply_configuration,
    apply_operations,
)
from kumo.kubernetes.apiserver.admission.policies.definition import Binding, Hook, Mutation, Policy
from kumo.kubernetes.apiserver.admission.policies.index import PolicyIndex
from kumo.kubernetes.apiserver.admission.policies.parameters import Misconfigured, find_kind, parameters
from kumo.kubernetes.apiserver.admission.policies.refusal import refused_by_mutation
from kumo.kubernetes.apiserver.admission.policies.validating import hasty, namespace_object
from kumo.kubernetes.apiserver.admission.reinvocation import Reinvocation
from kumo.kubernetes.apiserver.admission.versions import Seen
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes, Reader
from kumo.kubernetes.apiserver.authorization import Authorizer
from kumo.kubernetes.apiserver.deliberation import Deliberation, Haste

POLICIES = GVR("admissionregistration.k8s.io", "v1", "mutatingadmissionpolicies", False)
BINDINGS = GVR("admissionregistration.k8s.io", "v1", "mutatingadmissionpolicybindings", False)
_DELAY = "There can be a delay between when CustomResourceDefinitions are created and when they are available."


class MutatingPolicies:
    """The mutating policies of all bindings."""

    def __init__(
        self,
        reader: Reader,
        equivalents: Equivalents,
        authorizer: Authorizer | None = None,
        deliberation: Deliberation | None = None,
    ) -> None:
        self._deliberation = deliberation or Deliberation()
        self._reader = reader
        self._equivalents = equivalents
        self._authorizer = authorizer
        self.index = PolicyIndex(POLICIES, BINDINGS, reader, equivalents)

    async def mutate(self, attrs: AdmissionAttributes, way: Reinvocation) -> None:
        """Let the policies change `attrs.object`. Raises 403 with what went wrong."""
        if is_exempt(attrs):
            return
        hooks = self.index.candidates(asked(attrs))
        if not hooks:
            return
        if way.second and way.policies.output != attrs.object:
            way.policies.require()
        run = _Run(attrs, way, self._reader, self._equivalents, self._authorizer, self._deliberation)
        for hook in hooks:
            await run.policy(hook)
        way.policies.output = msgspec.to_builtins(attrs.object)
        if run.failures:
            raise refused_by_mutation(attrs, run.failures)


class _Run:
    """One round of policies over one write."""

    def __init__(
        self,
        attrs: AdmissionAttributes,
        way: Reinvocation,
        reader: Reader,
        equivalents: Equivalents,
        authorizer: Authorizer | None,
        deliberation: Deliberation,
    ) -> None:
        self._attrs = attrs
        self._deliberation = deliberation
        self._way = way
        self._reader = reader
        self._equivalents = equivalents
        self._authorizer = authorizer
        self._seen = Seen(attrs, equivalents)
        self.failures: list[tuple[str, str]] = []
        """Messages and reasons."""

    async def policy(self, hook: Hook) -> None:
        """Apply a policy through each of its bindings that is about the request."""
        policy, attrs = hook.policy, self._attrs
        try:
            target = policy.constraints.match(attrs, self._equivalents, self._reader)
            if target is None:
                return
            kind = find_kind(self._equivalents, policy.param_kind) if policy.param_kind is not None else None
        except (Misconfigured, StatusError) as error:
            self._fail(policy, None, f"failed to configure policy: {error}")
            return
        for binding in hook.bindings:
            try:
                if not binding.concerns(attrs, self._equivalents, self._reader):
                    continue
                await self._seen.ready(target)
                found = await self._seen.settle(partial(parameters, kind, binding, attrs.namespace, self._reader))
            except (Misconfigured, StatusError) as error:
                self._fail(policy, binding, f"failed to configure binding: {error}")
                continue
            for param in found:
                await self._invoke(policy, binding, target, param)

    async def _invoke(self, policy: Policy, binding: Binding, target: Target, param: Object | None) -> None:
        bindings = Bindings(self._attrs, target, self._seen, self._authorizer)
        await self._seen.ready(target)
        namespace = namespace_object(self._attrs, self._reader)
        haste = hasty(policy, Haste())
        if policy.conditions is not None:
            try:
                match = partial(policy.conditions.match, bindings.values(params=param), haste)
                if not await self._deliberation.judged(haste, match):
                    return
            except ConditionsFailed as error:
                self._fail(policy, binding, str(error), "Invalid")
                return
        meta = (param or {}).get("metadata") or {}
        key = f"{policy.name}/{binding.name}/{meta.get('namespace') or ''}/{meta.get('name') or ''}"
        state = self._way.policies
        if self._way.second and key not in state.again:
            return
        changed = False
        for mutation in policy.program.mutations:
            if self._attrs.object is None:
                continue
            try:
                # What the mutation before has made is what this one sees.
                await self._seen.ready(target)
                values = bindings.values(params=param, namespaceObject=namespace)
                change = partial(_change, policy, mutation, values, haste)
                found = await self._deliberation.judged(haste, change)
                changed |= await self._seen.settle(partial(self._mutate, mutation, target, found))
            except MutationFailed as error:
                self._fail(policy, binding, str(error), "Invalid")
        if changed:
            state.require()
            self._way.needed = True
        if policy.reinvocable:
            state.reinvocable.add(key)

    def _mutate(self, mutation: Mutation, target: Target, found: Any) -> bool:
        """Do one mutation, of which `found` is the expression's value; whether the object is another now.

        Raises MutationFailed.
        """
        obj = self._seen.new(target)
        assert obj is not None
        if mutation.kind == "JSONPatch":
            return self._seen.take(apply_operations(obj, found), target)
        schema = self._seen.schema(target)
        if schema is None:
            raise MutationFailed(f"Resource kind {target.gvk.kind} not found.")
        if not self._equivalents.serves(target.gvr):
            kind = f"{target.gvk.api_version}, Kind={target.gvk.kind}"
            raise unavailable(f"Resource kind {kind} not found. {_DELAY}")
        return self._seen.take(apply_configuration(obj, found, schema), target)

    def _fail(self, policy: Policy, binding: Binding | None, why: str, reason: str = "") -> None:
        if policy.ignores_failures:
            return
        if binding is None:
            self.failures.append((f'policy "{policy.name}" denied request: {why}', reason))
        else:
            by = f"policy '{policy.name}' with binding '{binding.name}'"
            self.failures.append((f"{by} denied request: {why}", reason))


def _change(policy: Policy, mutation: Mutation, bindings: Mapping[str, object], haste: Haste | None) -> Any:
    """The value of a mutation's expression. Raises MutationFailed, TakesLong."""
    from kumo.kubernetes.apiserver.admission.expressions import Budget, EvaluationError, OutOfBudget, evaluated

    if mutation.change.program is None:
        raise MutationFailed(mutation.change.error)
    budget = Budget() if haste is None else haste.budget(Budget)
    try:
        found = evaluated(mutation.change, policy.program.variables.bound(bindings, budget), budget)
    except (EvaluationError, OutOfBudget) as error:
        raise MutationFailed(str(error)) from None
    if mutation.mismatch:
        raise MutationFailed(f"type mismatch: {mutation.mismatch}")
    return found
