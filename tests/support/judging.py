"""Asking the kinds' strategies what a write is refused with: an object, and one field of it that changes."""

from __future__ import annotations

import copy
from typing import Any

from kumo.api.objects import Object
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds import strategy_for
from kumo.kubernetes.apiserver.kinds.strategy import Strategy

GONE = object()
"""The value of a field that is left out."""


def judge_of(obj: Object) -> Strategy:
    """The strategy of the kind the object says it is."""
    group, _, version = obj["apiVersion"].rpartition("/")
    return strategy_for(GVK(group, version, obj["kind"]))


def put(obj: Object, path: str, value: Any) -> Object:
    """A copy with one field set (or `GONE`); steps of the dotted path may be places in lists."""
    found = copy.deepcopy(obj)
    *above, last = path.split(".")
    here: Any = found
    for step in above:
        here = here[int(step)] if isinstance(here, list) else here.setdefault(step, {})
    if value is GONE:
        del here[int(last) if isinstance(here, list) else last]
    else:
        here[int(last) if isinstance(here, list) else last] = copy.deepcopy(value)
    return found


def made(obj: Object) -> Object:
    """The object as it is stored when it is new."""
    found, judge = copy.deepcopy(obj), judge_of(obj)
    if judge.namespaced:
        found["metadata"].setdefault("namespace", "d")
    judge.default(found)
    judge.prepare_create(found)
    return found


def refused(obj: Object, path: str, value: Any) -> list[str]:
    """What the creation of this object with one other field is refused with."""
    return [f"{c.field}: {c.message}" for c in judge_of(obj).validate_create(made(put(obj, path, value)))]


def updated(obj: Object, path: str, value: Any, part: str = "") -> tuple[Object, list[str]]:
    """The object after an update of one field (of `part`), and what that is refused with, each answer once."""
    judge, old = judge_of(obj), made(obj)
    fresh = put(old, path, value)
    judge.default(fresh)
    judge.prepare_update(fresh, old, part)
    judge.settle(fresh, old, part)
    return fresh, list(dict.fromkeys(f"{c.field}: {c.message}" for c in judge.validate_update(fresh, old, part)))
