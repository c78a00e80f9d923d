"""The strategy of a custom kind: what its CustomResourceDefinition says, applied."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from kumo.api import fields, names
from kumo.api.errors import Cause, forbidden
from kumo.api.go_text import go_type
from kumo.api.json_path import JsonPath
from kumo.api.objects import Object
from kumo.api.resources import GVK
from kumo.api.schema import CustomKindSchema
from kumo.api.schema.correlation import Correlated
from kumo.kubernetes.apiserver.deliberation import Haste
from kumo.kubernetes.apiserver.kinds.rules import Rules, as_field, at
from kumo.kubernetes.apiserver.kinds.strategy import Strategy
from kumo.kubernetes.apiserver.splice import encode

if TYPE_CHECKING:
    from kumo.kubernetes.apiserver.custom.embedded import Embedded
    from kumo.kubernetes.apiserver.custom.rules import Rules as CelRules

_BLOCKING = frozenset(
    ("FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid")
)
_UNCHECKED = (
    "some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation"
)
_STANDARD = ("orphan", "foregroundDeletion", "kubernetes")
_INT32_MAX = (1 << 31) - 1


class _Custom:
    """The schema's part in the rules. What a schema has nothing of (CEL rules, embedded objects) costs nothing."""

    def __init__(self, schema: CustomKindSchema, source: Mapping[str, Any], scale: Mapping[str, str] | None) -> None:
        self.schema = schema
        self._scale = scale
        self.rules: CelRules | None = None
        self.haste: Haste | None = None
        self.embedded: Embedded | None = None
        text = encode(source)
        if b'"x-kubernetes-validations":' in text:
            from kumo.kubernetes.apiserver.custom.rules import Place, rules_of
            from kumo.machinery.cel.budget import Budget

            self.rules = rules_of(source, root=True)
            self._place, self._budget = Place, Budget
            if self.rules is not None:
                self.haste = Haste()
        if b'"x-kubernetes-embedded-resource":' in text:
            from kumo.kubernetes.apiserver.custom.embedded import embedded_of

            self.embedded = embedded_of(source)
        self._source = source
        self._told: list[tuple[Object, list[str]]] = []
        """What `warn` will say of a state that has just been validated: rules that are broken as before."""

    def default(self, obj: Object) -> None:
        self.schema.apply_defaults(obj)

    def validate(self, obj: Object) -> list[Cause]:
        """A new object."""
        found = self.schema.validate(obj)
        if self._scale is not None:
            found += [*_replicas(obj, self._scale, "spec"), *_replicas(obj, self._scale, "status")]
        if self.embedded is not None:
            found += self.embedded.validate(obj)
        found += self.schema.duplicates(obj)
        return found if self.rules is None else self._run(found, obj, None)

    def validate_update(self, new: Object, old: Object) -> list[Cause]:
        """A new state: what was wrong before and has not changed may stay."""
        found = self.schema.validate(new, old)
        if self._scale is not None:
            found += [*_replicas(new, self._scale, "spec"), *_replicas(new, self._scale, "status")]
        if self.embedded is not None:
            found += self.embedded.validate(new)
        twice = self.schema.duplicates(new)
        if twice and not self.schema.duplicates(old):
            found += twice
        return found if self.rules is None else self._run(found, new, old)

    def validate_status(self, new: Object, old: Object) -> list[Cause]:
        """A status write."""
        found = self.schema.validate_status(new, old)
        if self._scale is not None:
            found += _replicas(new, self._scale, "status")
        twice = self.schema.duplicates(new)
        if twice and not self.schema.duplicates(old):
            found += twice
        return found if self.rules is None else self._run(found, new, old)

    def _run(self, found: list[Cause], new: Object, old: Object | None) -> list[Cause]:
        assert self.rules is not None
        if any(cause.reason in _BLOCKING for cause in found):
            return [*found, Cause("<nil>", f"Invalid value: null: {_UNCHECKED}", "FieldValueInvalid")]
        correlated = Correlated(new, old, self._source) if old is not None else None
        told: list[str] = []
        assert self.haste is not None
        budget = self.haste.budget(self._budget)
        found = found + self.rules.validate(new, old, self._place("", correlated, told.append), budget)
        if told and not found:
            self._told = [*self._told[-7:], (new, told)]
        return found

    def _take_told(self, new: Object) -> list[str]:
        found = next((told for obj, told in self._told if obj is new), [])
        if found:
            self._told = [entry for entry in self._told if entry[0] is not new]
        return found

    def warn(self, new: Object, old: Object | None) -> list[str]:
        """Finalizers that other writers may use too, and rules that are broken as before."""
        found: list[str] = []
        before = ((old or {}).get("metadata") or {}).get("finalizers") or ()
        for name in sorted(set((new.get("metadata") or {}).get("finalizers") or ()) - set(before)):
            found += [f'metadata.finalizers: "{name}": {why}' for why in names.check_qualified_name(name)]
            if "/" not in name and name not in _STANDARD:
                path = " including a path (/)" if "." in name else ""
                why = f"prefer a domain-qualified finalizer name{path} to avoid accidental conflicts"
                found.append(f'metadata.finalizers: "{name}": {why} with other finalizer writers')
        return found + self._take_told(new) if self._told else found

    def warn_status(self, new: Object, old: Object) -> list[str]:
        """Rules that are broken as before."""
        return self._take_told(new)


def _replicas(obj: Object, scale: Mapping[str, str], part: str) -> list[Cause]:
    """The numbers of replicas that the scale subresource reads, and the selector."""
    path = scale[f"{part}ReplicasPath"]
    value = at(obj, path.lstrip("."))
    found: list[Cause] = []
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        text = f"{path} accessor error: {value} is of the type {go_type(value)}, expected int64"
        found.append(fields.invalid(path, 0, text))
    elif value is not None and value < 0:
        found.append(fields.invalid(path, value, "should be a non-negative integer"))
    elif value is not None and value > _INT32_MAX:
        found.append(fields.invalid(path, value, f"should be less than or equal to {_INT32_MAX}"))
    selector = scale.get("labelSelectorPath") or ""
    if part == "status" and selector:
        text = at(obj, selector.lstrip("."))
        if text is not None and not isinstance(text, str):
            why = f"{selector} accessor error: {text} is of the type {go_type(text)}, expected string"
            found.append(fields.invalid(selector, "", why))
    return found


def custom_strategy(
    gvk: GVK,
    schema: CustomKindSchema,
    *,
    namespaced: bool,
    has_status: bool,
    selectable: tuple[str, ...] = (),
    source: Mapping[str, Any] | None = None,
    scale: Mapping[str, str] | None = None,
    terminating: bool = False,
    resource: str = "",
) -> Strategy:
    """The strategy of a custom kind.

    `has_status`: the status subresource is on, and with it status apart from spec; the generation counts spec changes
    either way. `selectable`: the JSON paths of `selectableFields` (`.spec.color`). `source`: the version's schema as
    its definition has it; `scale`: the paths of the scale subresource. `terminating`: the definition is being deleted,
    and no object of the `resource` may come.
    """
    custom = _Custom(schema, source or {}, scale)
    rules = Rules(
        default=custom.default,
        validate_create=custom.validate,
        check_update=custom.validate_update,
        validate_status=custom.validate_status,
        warn=custom.warn,
        warn_status=custom.warn_status if custom.rules is not None else None,
        has_status=has_status,
        empty_status=False,
        has_generation=True,
        status_keeps_metadata=True,
        unconditional_update=False,
        any_finalizer=True,
        on_create=_refuser(gvk.group, resource) if terminating else _accept,
        fields={path.lstrip("."): _reader(path) for path in selectable},
    )
    return Strategy(gvk, namespaced, rules, custom.haste)


def _accept(obj: Object) -> None:
    """Nothing to do for a new object."""


def _refuser(group: str, resource: str) -> Callable[[Object], None]:
    def refuse(obj: Object) -> None:
        why = "create not allowed while custom resource definition is terminating"
        raise forbidden(group, resource, (obj.get("metadata") or {}).get("name") or "", why)

    return refuse


def _reader(path: str) -> Callable[[Object], str]:
    compiled = JsonPath(path)

    def read(obj: Object) -> str:
        found = compiled.find(obj)
        return as_field(found[0]) if found else ""

    return read
