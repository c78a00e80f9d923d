"""What admission needs to know of namespaces, kept by their changes so that a write pays for one look-up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from kumo.api.objects import Object, is_deleting, labels_of, name_of
from kumo.api.resources import NAMESPACES
from kumo.kubernetes.apiserver.attributes import Reader


class NamespaceFacts(NamedTuple):
    """Whether the namespace is on its way out, and its labels."""

    ending: bool
    labels: Mapping[str, str]


class NamespaceTable:
    """The facts of every namespace there is."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._facts = {name_of(found): _facts(found) for found in reader.objects(NAMESPACES)}
        reader.listen(NAMESPACES, self._changed)

    def get(self, name: str) -> NamespaceFacts | None:
        """The namespace's facts, or None when there is none of that name."""
        return self._facts.get(name)

    def _changed(self, namespace: str, name: str) -> None:
        found = self._reader.get(NAMESPACES, name)
        if found is None:
            self._facts.pop(name, None)
        else:
            self._facts[name] = _facts(found)


def _facts(namespace: Object) -> NamespaceFacts:
    phase = (namespace.get("status") or {}).get("phase")
    return NamespaceFacts(is_deleting(namespace) or phase == "Terminating", labels_of(namespace))
