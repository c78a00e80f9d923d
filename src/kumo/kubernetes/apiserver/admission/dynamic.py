"""Admission that users configure by objects: webhooks, and policies with their bindings.

Where nothing is configured, a write costs a look at four flags.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from kumo.api.errors import bad_request
from kumo.api.objects import Object
from kumo.api.resources import GVR
from kumo.kubernetes.apiserver.admission.equivalents import Equivalents
from kumo.kubernetes.apiserver.admission.matching import EXEMPT_GROUP, asked, is_exempt
from kumo.kubernetes.apiserver.admission.policies import mutating, validating
from kumo.kubernetes.apiserver.admission.policies.index import PolicyIndex
from kumo.kubernetes.apiserver.admission.policies.mutating import MutatingPolicies
from kumo.kubernetes.apiserver.admission.policies.param_access import check_param_access
from kumo.kubernetes.apiserver.admission.policies.status import PolicyStatus
from kumo.kubernetes.apiserver.admission.policies.validating import ValidatingPolicies
from kumo.kubernetes.apiserver.admission.reinvocation import Reinvocation
from kumo.kubernetes.apiserver.admission.webhooks import Webhooks
from kumo.kubernetes.apiserver.admission.webhooks.dispatch import MUTATING, VALIDATING
from kumo.kubernetes.apiserver.admission.webhooks.index import WebhookIndex
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes
from kumo.kubernetes.apiserver.authorization import Authorizer
from kumo.kubernetes.apiserver.cache import Cache, Listener
from kumo.kubernetes.apiserver.conversion.conversions import Conversions
from kumo.kubernetes.apiserver.deliberation import Deliberation
from kumo.kubernetes.apiserver.entry import Entry
from kumo.kubernetes.apiserver.instruments import PolicyInstruments, WebhookInstruments
from kumo.kubernetes.apiserver.reader import CacheReader
from kumo.kubernetes.apiserver.registry import Registry
from kumo.machinery.client import Client

_HIDDEN = ("uid", "creationTimestamp", "generation")
"""What upstream gives a new object only after mutating admission."""
_SUFFIX = 5


class DynamicAdmission:
    """Webhooks and policies. Follows their objects through the cache."""

    def __init__(
        self,
        cache: Cache,
        reader: CacheReader,
        registry: Registry,
        authorizer: Authorizer,
        conversions: Conversions | None = None,
        deliberation: Deliberation | None = None,
    ) -> None:
        self._reader, self._authorizer = reader, authorizer
        equivalents = self._equivalents = Equivalents(registry, conversions)
        self._webhooks = Webhooks(reader, equivalents, authorizer, deliberation)
        self._mutating = MutatingPolicies(reader, equivalents, authorizer, deliberation)
        self._validating = ValidatingPolicies(reader, equivalents, authorizer, deliberation)
        followed: dict[GVR, WebhookIndex | PolicyIndex] = {
            MUTATING: self._webhooks.mutating,
            VALIDATING: self._webhooks.validating,
            mutating.POLICIES: self._mutating.index,
            mutating.BINDINGS: self._mutating.index,
            validating.POLICIES: self._validating.index,
            validating.BINDINGS: self._validating.index,
        }
        for gvr, index in followed.items():
            cache.listen(gvr.group, gvr.resource, _marker(index))

        self._status = PolicyStatus(reader, equivalents)
        cache.listen(validating.POLICIES.group, validating.POLICIES.resource, self._status.changed)

    def measure(self, webhooks: WebhookInstruments, policies: PolicyInstruments) -> None:
        """Count calls and checks there from now on."""
        self._webhooks.instruments, self._validating.instruments = webhooks, policies

    async def run(self, client: Client) -> None:
        """Check the expressions of policies and write down what is wrong with them, until cancelled."""
        await self._status.run(client)

    async def close(self) -> None:
        """Let go of connections."""
        await self._webhooks.close()

    async def mutate(self, attrs: AdmissionAttributes, again: Callable[[AdmissionAttributes], Awaitable[None]]) -> None:
        """Let policies and webhooks change the object; `again` runs the built-in steps once more after a change."""
        if not self._mutates(attrs):
            return
        hidden = _hide(attrs)
        try:
            way = Reinvocation()
            await self._round(attrs, way)
            if way.needed:
                way.second = True
                await again(attrs)
                await self._round(attrs, way)
        finally:
            _restore(attrs, hidden)

    def _mutates(self, attrs: AdmissionAttributes) -> bool:
        webhooks, policies = self._webhooks.mutating, self._mutating.index
        if not webhooks and not policies:
            return False
        question = asked(attrs)
        found = (webhooks and webhooks.candidates(question)) or (policies and policies.candidates(question))
        return bool(found) and not is_exempt(attrs)

    async def _round(self, attrs: AdmissionAttributes, way: Reinvocation) -> None:
        if self._mutating.index:
            await self._mutating.mutate(attrs, way)
        if self._webhooks.mutating:
            await self._webhooks.mutate(attrs, way)

    async def validate(self, attrs: AdmissionAttributes) -> None:
        """Let policies and webhooks judge the object."""
        if attrs.gvr.group == EXEMPT_GROUP:
            check_param_access(attrs, self._reader, self._equivalents, self._authorizer)
        if self._validating.index:
            await self._validating.validate(attrs)
        if self._webhooks.validating:
            await self._webhooks.validate(attrs)


def _marker(index: WebhookIndex | PolicyIndex) -> Listener:
    def changed(group: str, resource: str, old: Entry | None, new: Entry | None) -> None:
        index.stale = True

    return changed


def _hide(attrs: AdmissionAttributes) -> Object:
    """Take from a new object what it does not have yet upstream; what was taken."""
    if attrs.operation != "CREATE" or attrs.subresource or attrs.object is None:
        return {}
    meta = attrs.object.get("metadata")
    if not isinstance(meta, dict):
        return {}
    hidden = {key: meta.pop(key) for key in _HIDDEN if key in meta}
    generate = meta.get("generateName") or ""
    if generate and attrs.name == meta.get("name") and _looks_generated(attrs.name, generate):
        hidden["name"] = meta.pop("name")
        attrs.name = ""
    return hidden


def _looks_generated(name: str, generate: str) -> bool:
    """Whether the API server has made the name up (`generateName`, cut if need be, and five letters)."""
    return len(name) > _SUFFIX and generate.startswith(name[:-_SUFFIX]) and len(name) - _SUFFIX in (len(generate), 58)


def _restore(attrs: AdmissionAttributes, hidden: Object) -> None:
    """Give it back, and check what was made of the object's place. Raises 400."""
    if attrs.object is None or not isinstance(attrs.object.get("metadata"), dict):
        return
    meta = attrs.object["metadata"]
    name = hidden.pop("name", "")
    if name:
        meta["name"] = meta.get("name") or name
        attrs.name = meta["name"]
    meta.update(hidden)
    elsewhere = (meta.get("namespace") or attrs.namespace) != attrs.namespace
    if elsewhere and attrs.operation == "CREATE" and not attrs.subresource and attrs.gvr.namespaced:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
