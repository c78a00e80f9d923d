"""Objects by uid. Kubernetes has no such index, but what uid belongs to which name never changes: remembered here."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Key, Object, key_of, uid_of
from kumo.api.resources import GVR
from kumo.machinery.client import Client

_REMEMBERED = 4096


class ByUid:
    """Finds objects of one collection by uid (or what `shape` makes of it), with the client given at each call."""

    def __init__(self, gvr: GVR, shape: Callable[[Object], str] = uid_of) -> None:
        self._gvr = gvr
        self._shape = shape
        self._keys: OrderedDict[str, Key] = OrderedDict()

    async def find(self, client: Client, uid: str, namespace: str = "") -> Object | None:
        """The object with that uid (in the namespace, if given), or None."""
        key = self._keys.get(uid)
        if key is not None:
            try:
                found = await client.get(self._gvr, key.name, key.namespace)
            except StatusError as error:
                if not is_not_found(error):
                    raise
            else:
                if self._shape(found) == uid:
                    return found if not namespace or key.namespace == namespace else None
            self._keys.pop(uid, None)
        for obj in (await client.list(self._gvr, namespace)).items:
            self._keys[self._shape(obj)] = key_of(obj)
            if len(self._keys) > _REMEMBERED:
                self._keys.popitem(last=False)
            if self._shape(obj) == uid:
                return obj
        return None
