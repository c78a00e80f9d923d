"""Values along their shapes: what they say, how two of them differ, and how they are merged and cut.

Source: `sigs.k8s.io/structured-merge-diff/typed` (compare, merge, tofieldset, remove).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from kumo.api.patch.field_sets import SELF, FieldSet, in_order, is_member, ordered, scalar
from kumo.api.patch.shapes import DEDUCED, LEAF, Shape

MAX_SAID = 256
"""For how many combinations of its fields, and how many values of its items' key, a shape remembers what they say."""


MAX_SPECS = 64
LONGEST_SPEC = 1 << 14
"""Of how many specs, up to how many bytes of JSON, a shape remembers what they say."""
_encode = msgspec.json.Encoder().encode


class TypedError(ValueError):
    """A value that doesn't fit its shape; the message is upstream's (`.spec.ports: duplicate entries for key ...`)."""


class Difference(NamedTuple):
    """Fields that were added or changed, and those that are gone."""

    changed: FieldSet
    removed: FieldSet

    def __bool__(self) -> bool:
        return bool(self.changed or self.removed)


class Said(NamedTuple):
    """What objects of a shape say that have certain fields.

    `parts` are path element, name and shape of each in order, without the shape where it is a leaf; `whole` is the set
    itself if all are leaves.
    """

    parts: list[tuple[str, str, Shape | None]]
    whole: FieldSet | None


# -- items of lists -----------------------------------------------------------------------------------------------


def item_element(shape: Shape, item: Any) -> str:
    """The path element of a list's item. Raises TypedError for an item that has none."""
    if shape.kind == "set":
        if isinstance(item, dict):
            raise TypedError("associative list without keys has an element that's a map type")
        if isinstance(item, list):
            raise TypedError("not supported: associative list with lists as elements")
        if item is None:
            raise TypedError("associative list without keys has an element that's an explicit null")
        return "v:" + scalar(item)
    if item is None:
        raise TypedError("associative list with keys may not have a null element")
    if not isinstance(item, dict):
        raise TypedError("associative list with keys may not have non-map elements")
    if len(shape.keys) == 1:
        value = item.get(shape.keys[0])
        if type(value) is str:
            return shape.elements.get(value) or _named(shape, value)
    parts = []
    for name in shape.sorted_keys:
        if name in item:
            parts.append(f'"{name}":{scalar(item[name])}')
        elif (default := shape.key_default(name)) is not None:
            parts.append(f'"{name}":{scalar(default)}')
    if not parts:
        listed = " ".join(f'"{name}"' for name in shape.keys)
        raise TypedError(
            f"associative list with keys has an element that omits all key fields [{listed}] "
            "(and doesn't have default values for any key fields)"
        )
    return "k:{" + ",".join(parts) + "}"


def _named(shape: Shape, value: str) -> str:
    """The path element of items with one key, remembered for a number of values."""
    element = f'k:{{"{shape.keys[0]}":{scalar(value)}}}'
    if len(shape.elements) < MAX_SAID:
        shape.elements[value] = element
    return element


def _grouped(shape: Shape, items: list[Any]) -> dict[str, list[Any]]:
    """The items by their path elements; those without one are left out."""
    found: dict[str, list[Any]] = {}
    for item in items:
        try:
            element = item_element(shape, item)
        except TypedError:
            continue
        found.setdefault(element, []).append(item)
    return found


# -- what a value says --------------------------------------------------------------------------------------------


def fields_of(shape: Shape, value: Any) -> FieldSet | None:
    """Every field that the value says something about, as a part of a set; None if it says nothing."""
    kind = shape.kind
    if kind == "leaf":
        return {}
    if isinstance(value, dict) and kind in ("map", "deduced"):
        found: FieldSet = {}
        fields = shape.fields
        for name in sorted(value):
            child = value[name]
            known = fields.get(name)
            part = fields_of(known if known is not None else shape.values, child)
            if child is None or child == {} or known is None:
                part = {SELF: {}, **part} if part else {}
            if part is not None:
                found[f"f:{name}"] = part
        return found or None
    if isinstance(value, list) and kind in ("items", "set"):
        return _fields_of_items(shape, value)
    return {} if kind == "deduced" else None


def _fields_of_items(shape: Shape, items: list[Any]) -> FieldSet | None:
    found: FieldSet = {}
    for element, same in _grouped(shape, items).items():
        part = fields_of(shape.item, same[0]) if len(same) == 1 and shape.kind == "items" else None
        found[element] = {SELF: {}, **part} if part else {}
    return ordered(found) or None


def added(shape: Shape, value: Any) -> FieldSet:
    """The part of a set for a value that was not there before: the place itself and all below it.

    Like every set it may be shared, and is not to be changed: objects whose fields are all leaves say the same whenever
    they have the same fields.
    """
    kind = shape.kind
    if kind == "leaf" or not value:
        return {}
    if type(value) is dict:
        if kind != "map" and kind != "deduced":
            return {}
        names = tuple(value)
        said: Said = shape.said.get(names) or _said(shape, names)
        if said.whole is not None:
            return said.whole
        found: FieldSet = {SELF: {}}
        for element, name, child in said.parts:
            found[element] = added(child, value[name]) if child is not None else {}
        return found
    if type(value) is not list or (kind != "items" and kind != "set"):
        return {}
    parts = _added_items(shape, value)
    return {SELF: {}, **{element: parts[element] for element in in_order(parts)}}


def _said(shape: Shape, names: tuple[str, ...]) -> Said:
    """What objects with those fields say, remembered for a number of combinations."""
    parts = []
    for name in sorted({*names, *shape.times}):
        child = shape.field(name)
        parts.append((f"f:{name}", name, None if child.kind == "leaf" or name in shape.times else child))
    leaves = all(child is None for _, _, child in parts)
    said = Said(parts, {SELF: {}, **{element: {} for element, _, _ in parts}} if leaves else None)
    if len(shape.said) < MAX_SAID:
        shape.said[names] = said
    return said


def _added_items(shape: Shape, items: list[Any]) -> FieldSet:
    """The items' parts by their path elements; what is there twice is one place, as are the items of a set."""
    item_shape = shape.item if shape.kind == "items" else LEAF
    found: FieldSet = {}
    for item in items:
        try:
            element = item_element(shape, item)
        except TypedError:
            continue
        found[element] = {} if element in found else added(item_shape, item)
    return found


# -- how two differ -----------------------------------------------------------------------------------------------


def compare(shape: Shape, old: dict[str, Any], new: dict[str, Any]) -> Difference:
    """What makes the second object of the first."""
    changed: FieldSet = {}
    removed: FieldSet = {}
    _compare_maps(shape, old, new, changed, removed)
    return Difference(changed, removed)


def made(shape: Shape, new: dict[str, Any]) -> Difference:
    """What makes the object of one of its kind that says nothing (`Shape.zero`).

    Objects that are alike but for their metadata come in numbers, as replicas do: what the last specs say is remembered
    by their JSON.
    """
    nothing, spec = shape.zero(), new.get("spec")
    text = _encode(spec) if isinstance(spec, dict) else b""
    if not text or len(text) > LONGEST_SPEC:
        return compare(shape, nothing, new)
    known: Difference | None = shape.specs.pop(text, None)
    if known is None:
        known = compare(shape, _only_spec(nothing), _only_spec(new))
        if len(shape.specs) >= MAX_SPECS:
            del shape.specs[next(iter(shape.specs))]
    shape.specs[text] = known
    rest = compare(shape, _without_spec(nothing), _without_spec(new))
    return Difference(ordered({**rest.changed, **known.changed}), {**rest.removed, **known.removed})


def _only_spec(obj: dict[str, Any]) -> dict[str, Any]:
    return {"spec": obj["spec"]} if "spec" in obj else {}


def _without_spec(obj: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in obj.items() if name != "spec"}


def _compare_maps(shape: Shape, old: dict[str, Any], new: dict[str, Any], changed: FieldSet, removed: FieldSet) -> None:
    fields, structs = shape.fields, shape.structs
    for name in sorted(new):
        value = new[name]
        before = old.get(name)
        if before is not None or name in old:
            if before == value and type(before) is type(value):
                continue
        elif name in structs:
            before = {}
        else:
            known = fields.get(name)
            changed["f:" + name] = added(known if known is not None else shape.values, value)
            continue
        known = fields.get(name)
        _compare_both(known if known is not None else shape.values, before, value, "f:" + name, changed, removed)
    for name in old:
        if name not in new:
            known = fields.get(name)
            if name in structs:
                _compare_both(known or shape.values, old[name], {}, "f:" + name, changed, removed)
            else:
                removed["f:" + name] = added(known if known is not None else shape.values, old[name])


def _compare_both(shape: Shape, old: Any, new: Any, element: str, changed: FieldSet, removed: FieldSet) -> None:
    kind = shape.kind
    more: FieldSet = {}
    less: FieldSet = {}
    if kind == "map" or kind == "deduced":
        were, are = isinstance(old, dict), isinstance(new, dict)
        if kind == "deduced" and not (were and are):
            if were != are:
                _compare_kinds(shape, old, new, element, changed, removed)
            elif old != new or type(old) is not type(new):
                changed[element] = {}
            return
        if old or new:
            _compare_maps(shape, old if were else {}, new if are else {}, more, less)
        elif old != new:
            changed[element] = {}
    elif kind == "items" or kind == "set":
        if old or new:
            before, after = old if isinstance(old, list) else [], new if isinstance(new, list) else []
            _compare_items(shape, before, after, more, less)
        elif old != new:
            changed[element] = {}
    elif old != new or type(old) is not type(new):
        changed[element] = {}
    if more:
        changed[element] = more
    if less:
        removed[element] = less


def _compare_kinds(shape: Shape, old: Any, new: Any, element: str, changed: FieldSet, removed: FieldSet) -> None:
    """Where a scalar took an object's place, or the reverse."""
    changed[element] = added(shape, new) if isinstance(new, dict) else {}
    if isinstance(old, dict) and old:
        less = {e: p for e, p in added(shape, old).items() if e != SELF}
        if less:
            removed[element] = less


def _compare_items(shape: Shape, old: list[Any], new: list[Any], changed: FieldSet, removed: FieldSet) -> None:
    if not old:
        parts = _added_items(shape, new)
        changed.update((element, parts[element]) for element in in_order(parts))
        return
    before, after = _grouped(shape, old), _grouped(shape, new)
    item = shape.item if shape.kind == "items" else LEAF
    for element in in_order({**before, **after}):
        was, now = before.get(element, []), after.get(element, [])
        if len(was) <= 1 and len(now) <= 1:
            if not was:
                changed[element] = added(item, now[0])
            elif not now:
                removed[element] = added(item, was[0])
            elif was[0] != now[0]:
                _compare_both(item, was[0], now[0], element, changed, removed)
        elif len(was) >= 2 and len(now) >= 2:
            if was != now:
                changed[element] = {}
        elif len(was) >= 2:
            removed[element] = {}
            if now:
                changed[element] = added(item, now[0])
        else:
            changed[element] = {}
            if was:
                removed[element] = added(item, was[0])


# -- merging ------------------------------------------------------------------------------------------------------


def merge(shape: Shape, live: Any, config: Any) -> Any:
    """The live value with the configuration laid over it: fields and keyed items one by one, the rest as a whole."""
    kind = shape.kind
    if kind in ("map", "deduced") and isinstance(config, dict) and isinstance(live, dict):
        if not live and not config:
            return config
        found = dict(live)
        for name, value in config.items():
            found[name] = merge(shape.field(name), live[name], value) if name in live else value
        return found
    if kind in ("items", "set") and isinstance(config, list) and isinstance(live, list) and (live or config):
        return _merge_lists(shape, live, config)
    if config is None and kind in ("map", "items", "set") and live:
        return live
    return config


def _merge_lists(shape: Shape, live: list[Any], config: list[Any]) -> list[Any]:
    """The items of both: those of the configuration in its order, the others where they stand among the live ones."""
    theirs = [item_element(shape, item) for item in live]
    mine = [item_element(shape, item) for item in config]
    live_by = dict(zip(theirs, live, strict=True))
    twice = {e for e in theirs if theirs.count(e) > 1} if len(live_by) < len(theirs) else ()
    config_by = dict(zip(mine, config, strict=True))
    shared = [element for element in mine if element in live_by]
    coming = iter(shared)
    following = next(coming, None)
    done: set[str] = set()
    found: list[Any] = []
    left = right = 0

    def both(element: str) -> Any:
        value = config_by[element]
        if element not in live_by or element in twice or shape.kind == "set":
            return value
        return merge(shape.item, live_by[element], value)

    while left < len(theirs) or right < len(mine):
        if left < len(theirs) and right < len(mine):
            element = theirs[left]
            if element == mine[right]:
                done.add(element)
                found.append(both(element))
                left, right = left + 1, right + 1
                following = next(coming, None)
                continue
            if element in config_by and following is not None and following != element:
                left += 1
                continue
        if left < len(theirs):
            element = theirs[left]
            if element not in config_by:
                found.append(live[left])
                left += 1
                continue
            if element in done:
                left += 1
        if right < len(mine):
            element = mine[right]
            done.add(element)
            found.append(both(element))
            right += 1
            if following == element:
                following = next(coming, None)
    return found


def remove(shape: Shape, value: Any, gone: FieldSet) -> Any:
    """The value without the members of the set; what that empties stays, empty."""
    kind = shape.kind
    if isinstance(value, dict) and kind in ("map", "deduced"):
        found: dict[str, Any] = {}
        for name, child in value.items():
            part = gone.get(f"f:{name}")
            if part is None:
                found[name] = child
            elif not is_member(part):
                found[name] = remove(shape.field(name), child, part)
        return found
    if isinstance(value, list) and kind in ("items", "set"):
        items = []
        for item in value:
            part = gone.get(item_element(shape, item))
            if part is None:
                items.append(item)
            elif not is_member(part):
                items.append(remove(shape.item, item, part))
        return items
    if isinstance(value, dict):
        return {}
    return [] if isinstance(value, list) else value


def named_fields(shape: Shape, one: FieldSet) -> FieldSet:
    """The set, and with it every named field of an object that has a member below."""
    found: FieldSet = {}
    for element, part in one.items():
        if element == SELF or not part:
            found[element] = part
            continue
        kind = element[:2]
        if kind == "f:":
            known = shape.fields.get(element[2:])
            below = named_fields(known if known is not None else shape.values, part)
            found[element] = {SELF: {}, **below} if known is not None else below
        else:
            found[element] = named_fields(shape.item if shape.kind == "items" else DEDUCED, part)
    return found


def reconciled(shape: Shape, one: FieldSet) -> FieldSet:
    """The set after a change of the schema: what lies below a place that is whole now becomes the place itself."""
    found: FieldSet = {}
    for element, part in one.items():
        if element == SELF or not part:
            found[element] = part
            continue
        below: Shape
        if element[:2] == "f:":
            below = shape.field(element[2:])
        else:
            below = shape.item if shape.kind == "items" else DEDUCED
        if below.kind == "leaf":
            found[element] = {}
        elif below.kind == "deduced":
            found[element] = part
        else:
            found[element] = reconciled(below, part)
    return found


def elements_of(path: str) -> Iterable[str]:
    """The path elements of a dotted path (`spec.replicas`)."""
    return [f"f:{name}" for name in path.strip(".").split(".")]
