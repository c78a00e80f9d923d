"""The shell around revisions: listing, adopting, making, renumbering and forgetting ControllerRevisions."""

from __future__ import annotations

from kumo.api.errors import StatusError, is_already_exists, is_not_found
from kumo.api.objects import Object, is_deleting, name_of, namespace_of, uid_of
from kumo.api.resources import CONTROLLERREVISIONS, GVR
from kumo.kubernetes.controller_manager import ownership, revisions
from kumo.machinery.client import Client
from kumo.machinery.informer import Informer, Informers


class History:
    """The revisions of one kind's objects, as that kind's controller keeps them."""

    def __init__(self, client: Client, informers: Informers, owner_gvr: GVR, hash_label: str) -> None:
        self._client = client
        self._label = hash_label
        self._owner_gvr = owner_gvr
        self.informer: Informer = informers.informer(CONTROLLERREVISIONS)
        self.informer.add_index(ownership.OWNER_INDEX, ownership.controller_index)

    async def claimed(self, owner: Object) -> list[Object]:
        """The owner's revisions, oldest first; those of nobody that its selector means are adopted."""
        found = ownership.candidates(self.informer, owner)
        selector = owner["spec"].get("selector")
        owned = await ownership.claim(self._client, self._owner_gvr, owner, CONTROLLERREVISIONS, found, selector)
        return revisions.ordered(owned)

    async def current(self, owner: Object, known: list[Object]) -> tuple[Object, int]:
        """The revision of the owner's current template, made or numbered as the newest, and the collision count.

        `known` are the owner's revisions, oldest first. For an owner that is being deleted nothing is written.
        """
        collisions = int((owner.get("status") or {}).get("collisionCount") or 0)
        number = revisions.number_of(known[-1]) + 1 if known else 1
        wanted = revisions.new_revision(owner, number, collisions, self._label)
        if is_deleting(owner) and known:
            return known[-1], collisions
        equal = [r for r in known if revisions.same_data(r, wanted)]
        if not equal:
            return await self._create(owner, wanted, collisions)
        if equal[-1] is known[-1]:
            return equal[-1], collisions
        renumbered = {**equal[-1], "revision": number}
        return await self._client.update(CONTROLLERREVISIONS, renumbered), collisions

    async def _create(self, owner: Object, wanted: Object, collisions: int) -> tuple[Object, int]:
        while True:
            try:
                return await self._client.create(CONTROLLERREVISIONS, wanted), collisions
            except StatusError as error:
                if not is_already_exists(error):
                    raise
            live = await self._client.get(CONTROLLERREVISIONS, name_of(wanted), namespace_of(wanted))
            if revisions.same_data(live, wanted):
                return live, collisions
            collisions += 1
            wanted = revisions.new_revision(owner, revisions.number_of(wanted), collisions, self._label)

    async def forget(self, revision: Object) -> None:
        """Delete a revision; one that is gone already is fine."""
        try:
            await self._client.delete(
                CONTROLLERREVISIONS, name_of(revision), namespace_of(revision), uid=uid_of(revision)
            )
        except StatusError as error:
            if not is_not_found(error):
                raise
