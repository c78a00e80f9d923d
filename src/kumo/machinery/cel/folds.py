"""Loops: the folds that macros become, each in one quick piece where its shape is known."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from kumo.machinery.cel.code import Frame, Run, over_limit
from kumo.machinery.cel.errors import CelError, CostExceeded
from kumo.machinery.cel.values import Lazy, equal

Entries = Callable[[Any, Frame], Iterable[Any]]


def _iterable(value: Any) -> Any:
    if isinstance(value, list | dict | Lazy):
        return value
    raise CelError(f"got '{type(value).__name__}', expected iterable type")


def entries(slot: int, second: int) -> Entries:
    """Walks a range: sets the loop's variables in the frame, step by step. `second` of 0 is one variable."""

    def one(value: Any, f: Frame) -> Iterable[Any]:
        for item in _iterable(value):
            f[slot] = item
            yield item

    def two(value: Any, f: Frame) -> Iterable[Any]:
        pairs = enumerate(value) if isinstance(value, list) else _iterable(value).items()
        for key, item in pairs:
            f[slot], f[second] = key, item
            yield item

    return two if second else one


def quantifier(over: Run, walk: Entries, predicate: Run, stop: bool) -> Run:
    """`all` (stops at false) and `exists` (stops at true); an error counts only if nothing stops the loop."""
    condition = 3 if stop else 2

    def run(f: Frame) -> Any:
        items = over(f)
        error: CelError | None = None
        left = len(_iterable(items))
        for _ in walk(items, f):
            left -= 1
            f[0] += condition + 1
            if f[0] > f[1]:
                over_limit(f)
            try:
                found = predicate(f)
            except CostExceeded:
                raise
            except CelError as caught:
                error = error or caught
                continue
            if found is stop:
                f[0] += 1 + (condition if left else 0)
                return stop
            if found is not True and found is not False:
                error = error or CelError("no such overload")
        f[0] += 1
        if error is not None:
            raise error
        return not stop

    return run


def exactly_one(over: Run, walk: Entries, predicate: Run) -> Run:
    """`exists_one`."""

    def run(f: Frame) -> bool:
        count = 0
        for _ in walk(over(f), f):
            found = predicate(f)
            if found is True:
                f[0] += 2
                count += 1
            elif found is not False:
                raise CelError("no such overload")
            over_limit(f)
        f[0] += 2
        return count == 1

    return run


def collect(over: Run, walk: Entries, predicate: Run | None, element: Run, cost: int) -> Run:
    """`map`, `filter`, `transformList`: a list of the elements; `cost` is what one more costs beyond itself."""

    def run(f: Frame) -> list[Any]:
        out: list[Any] = []
        for _ in walk(over(f), f):
            if predicate is not None:
                found = predicate(f)
                if found is not True:
                    if found is not False:
                        raise CelError("no such overload")
                    over_limit(f)
                    continue
            f[0] += cost
            if f[0] > f[1]:
                over_limit(f)
            out.append(element(f))
        f[0] += 1
        return out

    return run


def collect_map(over: Run, walk: Entries, predicate: Run | None, key: Run | None, value: Run) -> Run:
    """`transformMap`, and without `key` `transformMapEntry`: a map; a key may come but once."""

    def run(f: Frame) -> dict[Any, Any]:
        out: dict[Any, Any] = {}
        for _ in walk(over(f), f):
            if predicate is not None:
                found = predicate(f)
                if found is not True:
                    if found is not False:
                        raise CelError("no such overload")
                    over_limit(f)
                    continue
            f[0] += 2
            if f[0] > f[1]:
                over_limit(f)
            more = {key(f): value(f)} if key is not None else value(f)
            for name, item in more.items():
                if name in out:
                    raise CelError(f"insert failed: key {name} already exists")
                out[name] = item
        f[0] += 1
        return out

    return run


def binding(slot: int, init: Run, result: Run) -> Run:
    """A name for a value."""

    def run(f: Frame) -> Any:
        f[slot] = init(f)
        return result(f)

    return run


__all__ = ["binding", "collect", "collect_map", "entries", "equal", "exactly_one", "quantifier"]
