"""Writing the pods and claims of a stateful set, with the events that tell of it."""

from __future__ import annotations

from kumo.api.errors import StatusError, is_already_exists, is_not_found
from kumo.api.objects import Object, is_deleting, key_of, name_of, namespace_of, uid_of
from kumo.api.resources import PODS
from kumo.kubernetes.controller_manager.expectations import Expectations
from kumo.kubernetes.controller_manager.refusals import is_namespace_ending
from kumo.kubernetes.controller_manager.statefulset import claims, identity
from kumo.machinery.client import Client
from kumo.machinery.controller import Temporary
from kumo.machinery.events import NORMAL, WARNING, EventRecorder
from kumo.machinery.informer import Informer


class PodControl:
    """Creates, deletes and mends pods and claims. Errors of the API server are raised after an event told of them."""

    def __init__(
        self, client: Client, recorder: EventRecorder, known_claims: Informer, expectations: Expectations
    ) -> None:
        self._client = client
        self._recorder = recorder
        self._claims = known_claims
        self._expectations = expectations

    async def create(self, stateful_set: Object, pod: Object) -> None:
        """Make the pod's missing claims, then the pod; one that is there already is fine."""
        key = key_of(stateful_set)
        self._expectations.expect_creations(key, 1)
        try:
            await self.make_claims(stateful_set, pod)
            await self._client.create(PODS, pod)
        except (StatusError, ConnectionError, OSError, TimeoutError, Temporary) as error:
            self._expectations.created(key)
            if not is_namespace_ending(error) and not _exists(error):
                self._tell(stateful_set, "Create", pod, error)
            raise
        self._tell(stateful_set, "Create", pod)

    async def delete(self, stateful_set: Object, pod: Object) -> None:
        """Delete the pod; one that is gone is fine."""
        key = key_of(stateful_set)
        self._expectations.expect_deletions(key, [uid_of(pod)])
        try:
            await self._client.delete(PODS, name_of(pod), namespace_of(pod), uid=uid_of(pod))
        except (StatusError, ConnectionError, OSError, TimeoutError) as error:
            self._expectations.deleted(key, uid_of(pod))
            if not is_not_found(error):
                self._tell(stateful_set, "Delete", pod, error)
                raise
        self._tell(stateful_set, "Delete", pod)

    async def update(self, stateful_set: Object, pod: Object) -> None:
        """Give the pod back its labels and volumes, and its claims their owners."""
        try:
            await self.make_claims(stateful_set, pod)
            await self.own_claims(stateful_set, pod)
            await self._client.update(PODS, identity.with_identity(stateful_set, pod))
        except (StatusError, Temporary) as error:
            self._tell(stateful_set, "Update", pod, error)
            raise
        self._tell(stateful_set, "Update", pod)

    async def make_claims(self, stateful_set: Object, pod: Object) -> None:
        """Make the pod's claims that are missing. Raises Temporary while a former one is still on its way out."""
        for claim in claims.wanted(stateful_set, identity.ordinal(pod)):
            found = self._claims.get(name_of(claim), namespace_of(claim))
            if found is not None and is_deleting(found):
                raise Temporary(f"pvc {name_of(claim)} is being deleted")
            if found is not None:
                continue
            try:
                await self._client.create(claims.CLAIMS, claim)
            except StatusError as error:
                if is_already_exists(error):
                    continue
                if not is_namespace_ending(error):
                    self._tell_claim(stateful_set, pod, claim, error)
                raise
            self._tell_claim(stateful_set, pod, claim)

    async def own_claims(self, stateful_set: Object, pod: Object) -> None:
        """Set the owners of the pod's claims as the set's policy wants them."""
        for template in identity.templates(stateful_set):
            name = identity.claim_name(stateful_set, template, identity.ordinal(pod))
            claim = self._claims.get(name, namespace_of(stateful_set))
            if claim is None:
                continue
            if claims.has_other_controller(claim, stateful_set, pod):
                self._recorder.event(
                    stateful_set,
                    WARNING,
                    "ConflictingController",
                    f"PersistentVolumeClaim {name} has a conflicting OwnerReference that acts as a manging controller, "
                    "the retention policy is ignored for this claim",
                )
            if not claims.is_owned_rightly(claim, stateful_set, pod):
                await self._client.update(claims.CLAIMS, claims.with_owners(claim, stateful_set, pod))

    def _tell(self, stateful_set: Object, verb: str, pod: Object, error: Exception | None = None) -> None:
        text = f"{verb} Pod {name_of(pod)} in StatefulSet {name_of(stateful_set)}"
        self._event(stateful_set, verb, f"{text} successful", f"{text} failed error: {error}", error)

    def _tell_claim(self, stateful_set: Object, pod: Object, claim: Object, error: Exception | None = None) -> None:
        rest = f"Pod {name_of(pod)} in StatefulSet {name_of(stateful_set)}"
        good, bad = (f"Create Claim {name_of(claim)} {word}{rest}" for word in ("", "for "))
        self._event(stateful_set, "Create", f"{good} success", f"{bad} failed error: {error}", error)

    def _event(self, stateful_set: Object, verb: str, good: str, bad: str, error: Exception | None) -> None:
        if error is None:
            self._recorder.event(stateful_set, NORMAL, f"Successful{verb}", good)
        else:
            self._recorder.event(stateful_set, WARNING, f"Failed{verb}", bad)


def _exists(error: Exception) -> bool:
    return isinstance(error, StatusError) and is_already_exists(error)
