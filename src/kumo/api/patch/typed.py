"""Merging, comparing and cutting of values along the schema, as server-side apply needs it.

Source: `sigs.k8s.io/structured-merge-diff/typed`.
"""

from __future__ import annotations

from typing import Any

from kumo.api.patch.field_sets import SELF, FieldSet, fields_of, granular, item_element
from kumo.api.schema.nodes import Node


def merge(node: Node | None, live: Any, config: Any) -> Any:
    """The live value with the configuration laid over it: fields and keyed items one by one, the rest as a whole."""
    if not granular(node, config) or type(live) is not type(config):
        return config
    assert node is not None
    if isinstance(config, dict):
        found = dict(live)
        for name, value in config.items():
            found[name] = merge(node.field(name), live[name], value) if name in live else value
        return found
    return _merge_lists(node, live, config)


def _merge_lists(node: Node, live: list[Any], config: list[Any]) -> list[Any]:
    """The configuration's items in its order, the live ones where they stand before the next common item."""
    mine = {item_element(node, item): item for item in config}
    theirs = {item_element(node, item): item for item in live}
    found: list[Any] = []
    waiting = list(theirs)
    for element, item in mine.items():
        if element in theirs:
            while waiting and waiting[0] != element:
                other = waiting.pop(0)
                if other not in mine:
                    found.append(theirs[other])
            if waiting:
                waiting.pop(0)
            found.append(merge(node.items, theirs[element], item))
        else:
            found.append(item)
    found += [theirs[element] for element in waiting if element not in mine]
    return found


def compare(node: Node | None, old: Any, new: Any) -> tuple[FieldSet, FieldSet]:
    """The fields that were added or changed, and those that are gone."""
    if old == new and type(old) is type(new):
        return {}, {}
    if not granular(node, new) or not granular(node, old) or type(old) is not type(new):
        return fields_of(node, new) or {SELF: {}}, {}
    assert node is not None
    before, after = _parts(node, old), _parts(node, new)
    changed: FieldSet = {}
    removed: FieldSet = {}
    for element, (below, value) in after.items():
        if element not in before:
            part = fields_of(below, value)
            if isinstance(new, list) or below is None or below.type != "object":
                part = {**part, SELF: {}}
            changed[element] = part or {SELF: {}}
            continue
        more, less = compare(below, before[element][1], value)
        if more:
            changed[element] = more
        if less:
            removed[element] = less
    for element, (below, value) in before.items():
        if element not in after:
            removed[element] = {**fields_of(below, value), SELF: {}}
    return changed, removed


def _parts(node: Node, value: Any) -> dict[str, tuple[Node | None, Any]]:
    if isinstance(value, dict):
        return {f"f:{name}": (node.field(name), child) for name, child in value.items()}
    return {item_element(node, item): (node.items, item) for item in value}


def remove(node: Node | None, value: Any, gone: FieldSet) -> Any:
    """The value without the members of the set; containers that this empties go as well."""
    if not granular(node, value):
        return value
    assert node is not None
    if isinstance(value, dict):
        found: dict[str, Any] = {}
        for name, child in value.items():
            kept = _kept(node.field(name), child, gone.get(f"f:{name}"))
            if kept is not None:
                found[name] = kept[0]
        return found
    items = []
    for item in value:
        kept = _kept(node.items, item, gone.get(item_element(node, item)))
        if kept is not None:
            items.append(kept[0])
    return items


def _kept(node: Node | None, value: Any, gone: FieldSet | None) -> tuple[Any] | None:
    """What is left of a part, in a tuple; None if nothing."""
    if gone is None:
        return (value,)
    if SELF in gone:
        return None
    rest = remove(node, value, gone)
    if rest in ({}, []) and value not in ({}, []):
        return None
    return (rest,)
