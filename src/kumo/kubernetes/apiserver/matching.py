"""What a list or watch asks for: a namespace (or all), a label selector, a field selector. Hashable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kumo.api.selectors import EVERYTHING, Selector
from kumo.kubernetes.apiserver.entry import Entry

FieldsOf = Callable[[Entry], Mapping[str, str]]
"""The values of an entry's selectable fields."""


@dataclass(frozen=True, slots=True)
class Match:
    """The condition on an entry. Empty: everything."""

    namespace: str = ""
    labels: Selector = EVERYTHING
    fields: Selector = EVERYTHING

    @property
    def selects(self) -> bool:
        """Whether it asks for more than a namespace."""
        return bool(self.labels) or bool(self.fields)

    def matches(self, entry: Entry, fields_of: FieldsOf) -> bool:
        """Whether the entry is meant."""
        if self.namespace and entry.namespace != self.namespace:
            return False
        if self.labels and not self.labels.matches(entry.labels):
            return False
        return not self.fields or self._fields_match(entry, fields_of)

    def _fields_match(self, entry: Entry, fields_of: FieldsOf) -> bool:
        for requirement in self.fields.requirements:
            if requirement.key == "metadata.name":
                held = (entry.name in requirement.values) == (requirement.operator == "=")
            elif requirement.key == "metadata.namespace":
                held = (entry.namespace in requirement.values) == (requirement.operator == "=")
            else:
                found = fields_of(entry).get(requirement.key, "")
                held = (found in requirement.values) == (requirement.operator == "=")
            if not held:
                return False
        return True
