"""ValidatingAdmissionPolicy: every policy in force judges; its binding says whether to deny, warn or note."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import NamedTuple

from kumo.api.errors import StatusError
from kumo.api.objects import Object
from kumo.api.resources import GVR, NAMESPACES
from kumo.kubernetes.apiserver.admission.bindings import Bindings
from kumo.kubernetes.apiserver.admission.conditions import ConditionsFailed
from kumo.kubernetes.apiserver.admission.equivalents import Equivalents
from kumo.kubernetes.apiserver.admission.matching import Target, asked, is_exempt
from kumo.kubernetes.apiserver.admission.policies.definition import Binding, Hook, Policy
from kumo.kubernetes.apiserver.admission.policies.index import PolicyIndex
from kumo.kubernetes.apiserver.admission.policies.parameters import Misconfigured, find_kind, parameters
from kumo.kubernetes.apiserver.admission.policies.refusal import refused_by_validation
from kumo.kubernetes.apiserver.admission.versions import Seen
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes, Reader
from kumo.kubernetes.apiserver.authorization import Authorizer
from kumo.kubernetes.apiserver.deliberation import Deliberation, Haste
from kumo.kubernetes.apiserver.instruments import PolicyInstruments

POLICIES = GVR("admissionregistration.k8s.io", "v1", "validatingadmissionpolicies", False)
BINDINGS = GVR("admissionregistration.k8s.io", "v1", "validatingadmissionpolicybindings", False)
_FAILURE = "validation.policy.admission.k8s.io/validation_failure"
_LONGEST_MESSAGE = 5 * 1024
_LONGEST_ANNOTATION = 10 * 1024


class Decision(NamedTuple):
    """What one validation says: `denies`, with message and reason."""

    denies: bool
    message: str = ""
    reason: str = ""


@dataclass(slots=True)
class Outcome:
    """What a policy says with one parameter: a decision for each validation, annotations, and annotations' errors."""

    decisions: list[Decision] = field(default_factory=list)
    annotations: list[tuple[str, str]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


class ValidatingPolicies:
    """The validating policies of all bindings."""

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
        self.instruments = PolicyInstruments()
        """Where checks are counted."""
        self.index = PolicyIndex(POLICIES, BINDINGS, reader, equivalents)

    async def validate(self, attrs: AdmissionAttributes) -> None:
        """Judge the write by every policy. Raises the first refusal."""
        if is_exempt(attrs):
            return
        hooks = self.index.candidates(asked(attrs))
        if not hooks:
            return
        request = _Request(
            attrs, self._reader, self._equivalents, self._authorizer, self.instruments, self._deliberation
        )
        for hook in hooks:
            await request.judge(hook)
        if request.refusals:
            raise request.refusals[0]


class _Request:
    """One write, judged by one policy after the other."""

    def __init__(
        self,
        attrs: AdmissionAttributes,
        reader: Reader,
        equivalents: Equivalents,
        authorizer: Authorizer | None,
        instruments: PolicyInstruments,
        deliberation: Deliberation,
    ) -> None:
        self._attrs = attrs
        self._deliberation = deliberation
        self._instruments = instruments
        self._reader = reader
        self._equivalents = equivalents
        self._authorizer = authorizer
        self._seen = Seen(attrs, equivalents)
        self.refusals: list[StatusError] = []

    async def judge(self, hook: Hook) -> None:
        """Apply a policy through each of its bindings that is about the request."""
        policy, attrs = hook.policy, self._attrs
        try:
            target = policy.constraints.match(attrs, self._equivalents, self._reader)
            if target is None:
                return
            kind = find_kind(self._equivalents, policy.param_kind) if policy.param_kind is not None else None
        except (Misconfigured, StatusError) as error:
            self._misconfigured(policy, None, str(error))
            return
        notes: dict[str, list[str]] = {}
        for binding in hook.bindings:
            try:
                if not binding.concerns(attrs, self._equivalents, self._reader):
                    continue
                await self._seen.ready(target)
                found = await self._seen.settle(partial(parameters, kind, binding, attrs.namespace, self._reader))
            except (Misconfigured, StatusError) as error:
                self._misconfigured(policy, binding, str(error))
                continue
            for param in found:
                await self._apply(policy, binding, target, param, notes)
        for key, values in notes.items():
            attrs.audit_annotations.setdefault(f"{policy.name}/{key}", ", ".join(values))

    async def _apply(
        self, policy: Policy, binding: Binding, target: Target, param: Object | None, notes: dict[str, list[str]]
    ) -> None:
        namespace = namespace_object(self._attrs, self._reader)
        bound = Bindings(self._attrs, target, self._seen, self._authorizer).values(
            params=param, namespaceObject=namespace
        )
        began = perf_counter()
        haste = hasty(policy, Haste())
        outcome = await self._deliberation.judged(haste, partial(evaluate, policy, bound, haste))
        taken = perf_counter() - began
        for index, decision in enumerate(outcome.decisions):
            actions = [action.lower() for action in binding.actions] if decision.denies else ["allow"]
            for action in actions:
                labels = (policy.name, binding.name, "invalid_error" if decision.denies else "no_error", action)
                self._instruments.checks.add(*labels)
                self._instruments.seconds.of(*labels).observe(taken)
            if decision.denies:
                self._denied(policy, binding, index, decision)
        for key, value in outcome.annotations:
            values = notes.setdefault(key, [])
            if (cut := value[:_LONGEST_ANNOTATION]) not in values:
                values.append(cut)
        for error in outcome.errors:
            self._refuse(policy, binding, Decision(True, error))

    def _denied(self, policy: Policy, binding: Binding, index: int, decision: Decision) -> None:
        for action in binding.actions:
            if action == "Deny":
                self._refuse(policy, binding, decision)
            elif action == "Warn":
                by = f"ValidatingAdmissionPolicy '{policy.name}' with binding '{binding.name}'"
                self._attrs.warnings.append(f"Validation failed for {by}: {decision.message}")
            else:
                note = {
                    "message": decision.message,
                    "policy": binding.policy,
                    "binding": binding.name,
                    "expressionIndex": index,
                    "validationActions": list(binding.actions),
                }
                self._attrs.audit_annotations.setdefault(_FAILURE, json.dumps([note], separators=(",", ":")))

    def _misconfigured(self, policy: Policy, binding: Binding | None, why: str) -> None:
        if not policy.ignores_failures:
            what = "policy" if binding is None else "binding"
            self._refuse(policy, binding, Decision(True, f"failed to configure {what}: {why}"))

    def _refuse(self, policy: Policy, binding: Binding | None, decision: Decision) -> None:
        through = f" with binding '{binding.name}'" if binding is not None else ""
        message = f"ValidatingAdmissionPolicy '{policy.name}'{through} denied request: {decision.message}"
        self.refusals.append(refused_by_validation(self._attrs, message, decision.reason))


def namespace_object(attrs: AdmissionAttributes, reader: Reader) -> Object | None:
    """The variable `namespaceObject`; None for what is in no namespace, namespaces included. Raises 404."""
    from kumo.kubernetes.apiserver.admission.expressions import namespace_value

    if not attrs.namespace:
        return None
    found = reader.get(NAMESPACES, attrs.namespace)
    return namespace_value(found)


def hasty(policy: Policy, haste: Haste) -> Haste | None:
    """The haste with which a policy may be judged; None for one that asks the authorizer: it must not be moved."""
    conditions = policy.conditions
    asks = policy.asks_authorizer or (conditions is not None and conditions.asks_authorizer)
    return None if asks else haste


def evaluate(policy: Policy, bindings: Mapping[str, object], haste: Haste | None = None) -> Outcome:
    """What the policy says of a request with these variables. Pure but for the authorizer that expressions may ask.

    `haste`: how long to try (see `deliberation`). Raises TakesLong.
    """
    from kumo.kubernetes.apiserver.admission.expressions import Budget, EvaluationError, OutOfBudget, evaluated

    failing = Decision(not policy.ignores_failures)
    if policy.conditions is not None:
        try:
            if not policy.conditions.match(bindings, haste):
                return Outcome()
        except ConditionsFailed as error:
            return Outcome([failing._replace(message=str(error))])
    program, outcome = policy.program, Outcome()
    budget = Budget() if haste is None else haste.budget(Budget)
    values = program.variables.bound(bindings, budget)
    try:
        for validation in program.validations:
            try:
                held = evaluated(validation.check, values, budget)
            except EvaluationError as error:
                outcome.decisions.append(failing._replace(message=str(error)))
                continue
            decision = Decision(False)
            if held is not True:
                decision = Decision(True, "", validation.reason)
            outcome.decisions.append(decision)
    except OutOfBudget as error:
        return Outcome([failing._replace(message=str(error))])
    for index, validation in enumerate(program.validations):
        decision = outcome.decisions[index]
        if not decision.denies or decision.message:
            continue
        text = ""
        if validation.message_expression is not None:
            try:
                text = _message(evaluated(validation.message_expression, values, budget))
            except EvaluationError:
                text = ""  # The fixed message, or the expression, says enough.
            except OutOfBudget as error:
                message = f"failed messageExpression: {error}"
                outcome.decisions[index] = failing._replace(message=message)
                continue
        text = text or validation.message or f"failed expression: {validation.check.expression.strip()}"
        outcome.decisions[index] = decision._replace(message=text)
    _annotate(policy, bindings, outcome, haste)
    return outcome


def _message(found: object) -> str:
    """A messageExpression's result, if it can be shown: one line of bounded length."""
    text = found.strip() if isinstance(found, str) else ""
    return "" if len(text.encode()) > _LONGEST_MESSAGE or "\n" in text else text


def _annotate(policy: Policy, bindings: Mapping[str, object], outcome: Outcome, haste: Haste | None) -> None:
    from kumo.kubernetes.apiserver.admission.expressions import Budget, EvaluationError, OutOfBudget, evaluated

    program = policy.program
    budget = Budget() if haste is None else haste.budget(Budget)
    if not program.annotations:
        return
    values = program.variables.bound(bindings, budget)
    try:
        for annotation in program.annotations:
            try:
                found = evaluated(annotation.value, values, budget)
            except EvaluationError as error:
                if not policy.ignores_failures:
                    outcome.errors.append(str(error))
                continue
            if isinstance(found, str) and found.strip():
                outcome.annotations.append((annotation.key, found.strip()))
    except OutOfBudget as error:
        outcome.decisions = [Decision(not policy.ignores_failures, str(error))]
