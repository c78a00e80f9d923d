"""All objects of one resource: by key for GET, in sorted chunks for LIST, by label, and their last changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from kumo.api.errors import internal
from kumo.api.objects import Object
from kumo.kubernetes.apiserver.chunks import SortedChunks
from kumo.kubernetes.apiserver.entry import Entry
from kumo.kubernetes.apiserver.keys import object_key
from kumo.kubernetes.apiserver.matching import Match
from kumo.kubernetes.apiserver.watch_hub import Change, WatchHub

SelectableFields = Callable[[Object], Mapping[str, str]]


def _no_fields(_: Object) -> Mapping[str, str]:
    return {}


class ResourceCache:
    """The objects of `resource` in `group`, as of the last change that was applied. `revision` is that change's."""

    shown = False
    """Whether the entries' bytes are those to serve (`conversion.views`), whatever the resource says of its forms."""

    def __init__(self, group: str, resource: str, revision: int) -> None:
        self.group = group
        self.resource = resource
        self.revision = revision
        self.selectable_fields: SelectableFields = _no_fields
        """Reads the values that field selectors may use; set by the registry."""
        self.hub = WatchHub(revision, self.fields_of)
        self.unreadable: dict[tuple[str, str], str] = {}
        """The objects whose stored values can't be read, and why (a key for them is missing)."""
        self.lists = self.listed = 0
        """How many lists were answered from here, of how many objects."""
        self._entries: dict[tuple[str, str], Entry] = {}
        self._namespaces: dict[str, SortedChunks] = {}
        self._by_label: dict[tuple[str, str], set[tuple[str, str]]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    # -- reading ----------------------------------------------------------------------------------------------------

    def require_readable(self, namespace: str = "") -> None:
        """Raise 500 when an object of the resource (in the namespace, if given) can't be read."""
        for (where, name), why in self.unreadable.items():
            if not namespace or where == namespace:
                key = object_key(self.group, self.resource, where, name)
                raise internal(f'unable to transform key "{key}": {why}')

    def get(self, namespace: str, name: str) -> Entry | None:
        """The entry, or None."""
        return self._entries.get((namespace, name))

    def chunks(self, namespace: str = "") -> list[SortedChunks]:
        """The sorted entries of one namespace, or of every one in the order of their keys in the store."""
        if namespace:
            found = self._namespaces.get(namespace)
            return [found] if found else []
        return [self._namespaces[n] for n in self.namespaces()]

    def namespaces(self) -> list[str]:
        """The namespaces that hold entries, in the order of their keys in the store."""
        return sorted(self._namespaces, key=lambda n: n + "/")

    def entries(self, match: Match) -> Iterator[Entry]:
        """The entries that match, in order."""
        candidates: Iterator[Entry]
        if match.fields and (name := match.fields.exact("metadata.name")) is not None and match.namespace:
            candidates = iter(filter(None, [self._entries.get((match.namespace, name))]))
        elif match.labels and (keys := self._posting(match)) is not None:
            if namespace := match.namespace:
                names = sorted([name for where, name in keys if where == namespace])
                candidates = (self._entries[namespace, name] for name in names)
            else:
                candidates = (self._entries[key] for key in sorted(keys, key=lambda k: (k[0] + "/", k[1])))
            if not match.fields and self._is_one_label(match):
                return candidates
        else:
            candidates = (entry for chunks in self.chunks(match.namespace) for entry in chunks)
        if not match.selects:
            return candidates
        return (entry for entry in candidates if match.matches(entry, self.fields_of))

    def entries_after(self, namespace: str, name: str, match: Match) -> Iterator[Entry]:
        """The entries that match and come after the given one, in order."""
        for found in self.chunks(match.namespace) if match.namespace else self._chunks_from(namespace):
            first = next(iter(found))
            rest = found.after(name) if first.namespace == namespace else iter(found)
            for entry in rest:
                if not match.selects or match.matches(entry, self.fields_of):
                    yield entry

    def _chunks_from(self, namespace: str) -> list[SortedChunks]:
        return [self._namespaces[n] for n in self.namespaces() if n + "/" >= namespace + "/"]

    @staticmethod
    def _is_one_label(match: Match) -> bool:
        """Whether the labels' index alone answers: nothing is left to check."""
        return len(match.labels.requirements) == 1 and match.labels.requirements[0].operator == "="

    def _posting(self, match: Match) -> set[tuple[str, str]] | None:
        """The smallest set of keys that holds all matches, if the labels' index knows one."""
        best: set[tuple[str, str]] | None = None
        for requirement in match.labels.requirements:
            if requirement.operator == "=":
                found = self._by_label.get((requirement.key, requirement.values[0]), set())
                if best is None or len(found) < len(best):
                    best = found
        return best

    def fields_of(self, entry: Entry) -> Mapping[str, str]:
        """The entry's selectable fields, read at the first call."""
        if entry.fields is None:
            entry.fields = self.selectable_fields(entry.object())
        return entry.fields

    def forget_unused(self) -> None:
        """Let go of bytes that are kept for lists, and that no list has used since the last call."""
        for found in self._namespaces.values():
            for chunk in found.chunks:
                chunk.forget_unused()

    # -- changing ---------------------------------------------------------------------------------------------------

    def load(self, entry: Entry) -> None:
        """Put in an entry as it was when the server started: no event."""
        self._put(entry, None)

    def put(self, entry: Entry) -> None:
        """Apply a put."""
        old = self._entries.get(entry.key)
        self._put(entry, old)
        self.revision = entry.revision
        self.hub.publish(Change(entry.revision, old, entry))

    def delete(self, namespace: str, name: str, revision: int) -> None:
        """Apply a deletion."""
        old = self._entries.pop((namespace, name), None)
        self.revision = revision
        if old is None:
            return
        chunks = self._namespaces[namespace]
        chunks.remove(name)
        if not len(chunks):
            del self._namespaces[namespace]
        self._unindex(old)
        self.hub.publish(Change(revision, old, None))

    def _put(self, entry: Entry, old: Entry | None) -> None:
        key = entry.key
        self._entries[key] = entry
        chunks = self._namespaces.get(entry.namespace)
        if chunks is None:
            chunks = self._namespaces[entry.namespace] = SortedChunks()
        chunks.put(entry)
        if old is not None:
            if old.labels == entry.labels:
                entry.labels = old.labels
                return
            self._unindex(old)
        for pair in entry.labels.items():
            found = self._by_label.get(pair)
            if found is None:
                found = self._by_label[pair] = set()
            found.add(key)

    def _unindex(self, entry: Entry) -> None:
        for pair in entry.labels.items():
            keys = self._by_label[pair]
            keys.discard(entry.key)
            if not keys:
                del self._by_label[pair]
