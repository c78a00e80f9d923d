"""What is done with webhooks: mutating ones called one after the other, validating ones all at once.

Failures follow each webhook's failurePolicy; refusals are the webhook's own Status with upstream's words before it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from functools import partial
from time import perf_counter

import msgspec
import structlog

from kumo.api.errors import StatusError, bad_request, forbidden
from kumo.api.objects import Object
from kumo.api.resources import GVR
from kumo.kubernetes.apiserver.admission.bindings import Bindings
from kumo.kubernetes.apiserver.admission.conditions import ConditionsFailed
from kumo.kubernetes.apiserver.admission.equivalents import Equivalents
from kumo.kubernetes.apiserver.admission.hooks import denied
from kumo.kubernetes.apiserver.admission.matching import asked, is_exempt
from kumo.kubernetes.apiserver.admission.reinvocation import Reinvocation
from kumo.kubernetes.apiserver.admission.selection import namespace_matches, object_matches
from kumo.kubernetes.apiserver.admission.versions import ConversionRefused, Seen, internal_error
from kumo.kubernetes.apiserver.admission.webhooks.calling import CallFailed, call
from kumo.kubernetes.apiserver.admission.webhooks.configuration import Webhook
from kumo.kubernetes.apiserver.admission.webhooks.index import Candidate, WebhookIndex
from kumo.kubernetes.apiserver.admission.webhooks.patches import PatchFailed, apply
from kumo.kubernetes.apiserver.admission.webhooks.reviews import KNOWN_VERSIONS, Verdict, review
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes, Reader
from kumo.kubernetes.apiserver.authorization import Authorizer
from kumo.kubernetes.apiserver.deliberation import Deliberation, Haste
from kumo.kubernetes.apiserver.instruments import WebhookInstruments
from kumo.kubernetes.apiserver.outbound.connections import Connections

MUTATING = GVR("admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations", False)
VALIDATING = GVR("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations", False)
_MUTATION, _PATCH = "mutation.webhook.admission.k8s.io/", "patch.webhook.admission.k8s.io/"
_VALIDATION = "validating.webhook.admission.k8s.io/"
_log = structlog.get_logger("kumo.admission.webhooks")


class Webhooks:
    """The webhooks of all configurations. `close` lets go of their connections."""

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
        self._connections = Connections(reader)
        self.instruments = WebhookInstruments()
        """Where calls are counted."""
        self.mutating = WebhookIndex(MUTATING, reader, equivalents)
        self.validating = WebhookIndex(VALIDATING, reader, equivalents)

    async def close(self) -> None:
        """Close the connections."""
        await self._connections.close()

    # -- mutating ---------------------------------------------------------------------------------------------------

    async def mutate(self, attrs: AdmissionAttributes, way: Reinvocation) -> None:
        """Let the webhooks change `attrs.object`, one after the other. Raises what the first that refuses says."""
        if is_exempt(attrs):
            return
        candidates = self.mutating.candidates(asked(attrs))
        if not candidates:
            return
        if way.second and way.webhooks.output != attrs.object:
            way.webhooks.require()
        seen = Seen(attrs, self._equivalents)
        for candidate in candidates:
            try:
                if not await self._concerns(candidate, attrs, seen):
                    continue
            except ConversionRefused as error:
                raise internal_error(error.message) from None  # Upstream says so twice.
            webhook = candidate.webhook
            if way.second and webhook.uid not in way.webhooks.again:
                continue
            try:
                changed = await self._mutate_by(candidate, attrs, seen, way)
            except CallFailed as error:
                changed = False
                self._failed(webhook, error, attrs, _MUTATION, int(way.second), candidate.position)
            if changed:
                way.webhooks.require()
                way.needed = True
            if webhook.reinvocable:
                way.webhooks.reinvocable.add(webhook.uid)
        way.webhooks.output = msgspec.to_builtins(attrs.object)

    async def _mutate_by(self, candidate: Candidate, attrs: AdmissionAttributes, seen: Seen, way: Reinvocation) -> bool:
        """Ask one webhook and do what it wants; whether the object is another now."""
        webhook, changed = candidate.webhook, False
        place = f"round_{int(way.second)}_index_{candidate.position}"
        try:
            found = await self._ask(candidate, attrs, seen, mutating=True)
            if found.patch:
                changed = await self._patch(candidate, attrs, seen, found, place)
        finally:
            note = {"configuration": webhook.configuration, "webhook": webhook.name, "mutated": changed}
            attrs.audit_annotations.setdefault(_MUTATION + place, json.dumps(note, separators=(",", ":")))
        return changed

    async def _patch(
        self, candidate: Candidate, attrs: AdmissionAttributes, seen: Seen, found: Verdict, place: str
    ) -> bool:
        webhook = candidate.webhook
        operations = _operations(found.patch)
        if not operations:
            return False
        obj = seen.new(candidate.target)
        if obj is None:
            raise internal_error(
                f'admission webhook "{webhook.name}" attempted to modify the object, '
                "which is not supported for this operation"
            )
        if found.patch_type != "JSONPatch":
            raise CallFailed(f'unsupported patch type "{found.patch_type}"')
        try:
            patched = apply(obj, operations)
            changed = await seen.settle(lambda: seen.take(patched, candidate.target))
        except PatchFailed as error:
            raise internal_error(str(error)) from None
        note = {
            "configuration": webhook.configuration,
            "webhook": webhook.name,
            "patch": operations,
            "patchType": "JSONPatch",
        }
        attrs.audit_annotations.setdefault(_PATCH + place, json.dumps(note, separators=(",", ":")))
        return changed

    # -- validating -------------------------------------------------------------------------------------------------

    async def validate(self, attrs: AdmissionAttributes) -> None:
        """Ask the webhooks, all at once. Raises what the first to refuse says, when all have answered."""
        if is_exempt(attrs):
            return
        candidates = self.validating.candidates(asked(attrs))
        if not candidates:
            return
        seen = Seen(attrs, self._equivalents)
        called = [candidate for candidate in candidates if await self._concerns(candidate, attrs, seen)]
        for candidate in called:
            await seen.ready(candidate.target)
        errors: list[StatusError] = []
        if len(called) == 1:
            await self._validate_by(called[0], attrs, seen, 0, errors)
        elif called:
            async with asyncio.TaskGroup() as group:
                for index, candidate in enumerate(called):
                    group.create_task(self._validate_by(candidate, attrs, seen, index, errors))
        if errors:
            raise errors[0]

    async def _validate_by(
        self,
        candidate: Candidate,
        attrs: AdmissionAttributes,
        seen: Seen,
        index: int,
        errors: list[StatusError],
    ) -> None:
        try:
            await self._ask(candidate, attrs, seen, mutating=False)
        except StatusError as error:
            errors.append(error)
        except CallFailed as error:
            try:
                self._failed(candidate.webhook, error, attrs, _VALIDATION, 0, index)
            except StatusError as failure:
                errors.append(failure)

    # -- both -------------------------------------------------------------------------------------------------------

    async def _concerns(self, candidate: Candidate, attrs: AdmissionAttributes, seen: Seen) -> bool:
        """Whether selectors and conditions match too. Raises 404, and 403 for conditions that fail."""
        webhook = candidate.webhook
        if not object_matches(webhook.objects, attrs):
            return False
        if not namespace_matches(webhook.namespaces, attrs, self._reader):
            return False
        await seen.ready(candidate.target)
        if webhook.conditions is None:
            return True
        bindings = Bindings(attrs, candidate.target, seen, self._authorizer)
        try:
            haste = None if webhook.conditions.asks_authorizer else Haste()
            match = partial(webhook.conditions.match, bindings.values(), haste)
            return await self._deliberation.judged(haste, match)
        except ConditionsFailed as error:
            raise forbidden(attrs.gvr.group, attrs.gvr.resource, attrs.name, str(error)) from None

    async def _ask(self, candidate: Candidate, attrs: AdmissionAttributes, seen: Seen, *, mutating: bool) -> Verdict:
        """The answer of a webhook that allows the request. Raises CallFailed, and its refusal."""
        webhook = candidate.webhook
        if attrs.dry_run and webhook.side_effects not in ("None", "NoneOnDryRun"):
            raise bad_request(f'admission webhook "{webhook.name}" does not support dry run')
        version = next((v for v in webhook.versions if v in KNOWN_VERSIONS), "")
        if not version:
            known = "could not create admission objects: webhook does not accept known AdmissionReview versions"
            raise CallFailed(f"{known} (v1, v1beta1)")
        target = candidate.target
        question = review(attrs, target, seen.new(target), seen.old(target), version)
        began = perf_counter()
        try:
            found = await call(self._connections, webhook, question, mutating=mutating)
        except CallFailed:
            self._count(webhook, attrs, mutating, began, not webhook.ignores_failures, "0", "calling_webhook_error")
            if webhook.ignores_failures:
                self.instruments.opened.add(webhook.name, _type(mutating))
            raise
        code = "200" if found.allowed else str((found.status or {}).get("code") or 403)
        self._count(webhook, attrs, mutating, began, not found.allowed, code, "no_error")
        _note(attrs.audit_annotations, webhook, found.annotations)
        attrs.warnings.extend(found.warnings)
        if not found.allowed:
            raise denied(webhook.name, found.status)
        return found

    def _count(
        self,
        webhook: Webhook,
        attrs: AdmissionAttributes,
        mutating: bool,
        began: float,
        rejected: bool,
        code: str,
        error: str,
    ) -> None:
        """Count a call, and its refusal."""
        found, kind, said = self.instruments, _type(mutating), "true" if rejected else "false"
        found.seconds.of(webhook.name, kind, attrs.operation, said).observe(perf_counter() - began)
        found.requests.add(webhook.name, kind, attrs.operation, code, said)
        if rejected:
            found.rejections.add(webhook.name, kind, attrs.operation, error, code)

    def _failed(
        self,
        webhook: Webhook,
        error: CallFailed,
        attrs: AdmissionAttributes,
        prefix: str,
        round_: int,
        index: int,
    ) -> None:
        """A webhook that can't be asked: go on if its policy allows that. Raises 500."""
        message = f'failed calling webhook "{webhook.name}": {error}'
        if not webhook.ignores_failures:
            raise internal_error(message)
        _log.warning("a webhook failed; its policy is to go on", webhook=webhook.name, error=str(error))
        attrs.audit_annotations.setdefault(f"failed-open.{prefix}round_{round_}_index_{index}", webhook.name)


def _type(mutating: bool) -> str:
    return "admit" if mutating else "validating"


def _note(annotations: dict[str, str], webhook: Webhook, found: Mapping[str, str]) -> None:
    for key, value in found.items():
        annotations.setdefault(f"{webhook.name}/{key}", value)


def _operations(patch: bytes) -> list[Object]:
    """The operations of a patch. Raises CallFailed."""
    undecodable = "received undecodable patch in webhook response: "
    try:
        found = msgspec.json.decode(patch)
    except (msgspec.DecodeError, RecursionError) as error:
        raise CallFailed(undecodable + str(error)) from None
    if found is None:
        return []
    if not isinstance(found, list):
        kind = {dict: "object", str: "string", bool: "bool"}.get(type(found), "number")
        raise CallFailed(f"{undecodable}json: cannot unmarshal {kind} into Go value of type jsonpatch.Patch")
    return found
