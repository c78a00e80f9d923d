"""What calls may cost at most: cel-go's own functions, its lists and sets, and Kubernetes' (cel/library/cost)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kumo.machinery.cel.costs import CHECK_COST, LIST_COST, REGEX_FACTOR, STRING_FACTOR, STRUCT_COST
from kumo.machinery.cel.functions import Overload
from kumo.machinery.cel.libraries.formats import LONGEST_PATTERN
from kumo.machinery.cel.ranges import FREE, MOST, ONE, Range
from kumo.machinery.cel.syntax import Call, Expr, Literal

if TYPE_CHECKING:
    from kumo.machinery.cel.estimates import Estimator

Found = tuple[Range, Range | None]
"""The cost of the call without its arguments, and the size of its result."""
_WALKS = frozenset(("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"))
_PARSERS = frozenset(("cidr", "isIP", "isCIDR", "ip", "quantity", "isQuantity", "semver", "isSemver"))
_SIZED = frozenset(("lowerAscii", "upperAscii", "substring", "trim"))
_ORDERS = ("less_", "less_equals_", "greater_", "greater_equals_")


def call(sizes: Estimator, node: Call, overload: Overload, costs: Sequence[Range]) -> Found:
    """The cost of a call with its arguments (but not its target), and the size of its result."""
    if overload.id in ("logical_and", "logical_or"):
        return Range(costs[0].least, costs[0].plus(costs[1]).most), None
    if overload.id == "conditional":
        yes, no = node.args[1], node.args[2]
        entries = _joined(sizes.entries(yes), sizes.entries(no))
        sizes.note(node, None, entries)
        return costs[0].plus(costs[1].union(costs[2])), sizes.size(yes).union(sizes.size(no))
    found = _lists(sizes, node, overload) or _kubernetes(sizes, node, overload) or _standard(sizes, node, overload)
    cost, size = found or (ONE, None)
    for one in costs:
        cost = cost.plus(one)
    return cost, size


def _joined(
    one: tuple[str, Range, Range] | None, two: tuple[str, Range, Range] | None
) -> tuple[str, Range, Range] | None:
    if one is None or two is None:
        return None
    return one[0], one[1].union(two[1]), one[2].union(two[2])


def _standard(sizes: Estimator, node: Call, overload: Overload) -> Found | None:
    name, args = overload.id, node.args
    if name == "string_format" and node.target is not None:
        return sizes.size(node.target).by(STRING_FACTOR), None
    if name == "string_to_bytes":
        size = sizes.size(args[0])
        return size.by(STRING_FACTOR), Range(size.least, min(size.most * 4, MOST))
    if name == "bytes_to_string":
        size = sizes.size(args[0])
        return size.by(STRING_FACTOR), Range(size.least // 4, size.most)
    if name == "strings_quote":
        size = sizes.size(args[0])
        return size.by(STRING_FACTOR), Range(size.least + 2, min(size.most * 2 + 2, MOST))
    if name in ("starts_with_string", "ends_with_string"):
        return sizes.size(args[0]).by(STRING_FACTOR), None
    if name == "in_list":
        return sizes.size(args[1]).by(1), None
    if name == "matches_string" and node.target is not None:
        return _regex(sizes, node.target, args[0]), None
    if name == "contains_string" and node.target is not None:
        return sizes.size(node.target).by(STRING_FACTOR).times(sizes.size(args[0]).by(STRING_FACTOR)), None
    if name in ("add_string", "add_bytes", "add_list"):
        entries = _joined(sizes.entries(args[0]), sizes.entries(args[1]))
        sizes.note(node, None, entries)
        size = sizes.size(args[0]).plus(sizes.size(args[1]))
        return (ONE if name == "add_list" else size.by(STRING_FACTOR)), size
    if name in ("equals", "not_equals") or (name.startswith(_ORDERS) and name.endswith(("_string", "_bytes"))):
        smallest = min(sizes.size(args[0]).most, sizes.size(args[1]).most)
        return Range(1 if smallest else 0, smallest).by(STRING_FACTOR), None
    return None


def _regex(sizes: Estimator, text: Expr, pattern: Expr) -> Range:
    return sizes.size(text).plus(ONE).by(STRING_FACTOR).times(sizes.size(pattern).by(REGEX_FACTOR))


def _kubernetes(sizes: Estimator, node: Call, overload: Overload) -> Found | None:
    function, target, args = node.function, node.target, node.args
    if function == "check":
        return Range(CHECK_COST, CHECK_COST), None
    if function in ("fieldSelector", "labelSelector") and args:
        size = sizes.size(args[0])
        more = size.by(0.5).by(LIST_COST + STRUCT_COST)
        return Range(LIST_COST, LIST_COST).plus(size.by(STRING_FACTOR)).plus(more), None
    if function in _WALKS and target is not None:
        return _walk(sizes, target), None
    if function in ("url", "jsonpatch.escapeKey"):
        return sizes.size(args[0]).by(STRING_FACTOR), sizes.size(args[0])
    if function in _SIZED and target is not None:
        return sizes.size(target).by(STRING_FACTOR), sizes.size(target)
    if function == "replace" and target is not None:
        return sizes.size(target).by(2 * STRING_FACTOR), _replaced(*map(sizes.size, (target, args[0], args[1])))
    if function == "split" and target is not None:
        size = sizes.size(target)
        most = args[1].value if len(args) > 1 and isinstance(args[1], Literal) else size.most
        return size.by(2 * STRING_FACTOR), Range(0, int(most) & MOST)
    if function == "join" and target is not None:
        size = _join_size(sizes, target, args)
        return size.by(STRING_FACTOR), size
    if function in ("find", "findAll") and target is not None:
        return _regex(sizes, target, args[0]), Range(0, sizes.size(target).most)
    if function in _PARSERS and overload.id != "cidr_ip" and args:
        return sizes.size(args[0]).by(STRING_FACTOR), None
    if function == "ip.isCanonical":
        return sizes.size(args[0]).by(2 * STRING_FACTOR), None
    if function in ("containsIP", "containsCIDR"):
        return _contains(sizes, args[0], function == "containsCIDR", overload.id.endswith("_string")), None
    if function == "validate":
        return sizes.size(args[0]).by(STRING_FACTOR).by(LONGEST_PATTERN * REGEX_FACTOR), None
    if function == "_==_" and args[0].type == args[1].type:
        return _opaque_equality(sizes, args)
    return None


def _opaque_equality(sizes: Estimator, args: Sequence[Expr]) -> Found | None:
    name = args[0].type.name
    if name in ("net.IP", "net.CIDR", "kubernetes.Quantity", "kubernetes.Semver") or ".authorization." in name:
        return ONE, None
    if name == "kubernetes.NamedFormat":
        return Range(1, 64).by(STRING_FACTOR), None
    if name == "kubernetes.URL":
        known = sizes.known_size(args[1])
        return Range(1, known.most if known is not None else 1).by(STRING_FACTOR), None
    return None


def _walk(sizes: Estimator, target: Expr) -> Range:
    if not target.type.parameters:
        return sizes.size(target).by(STRING_FACTOR)
    each = ONE
    if target.type.parameters[0].kind in ("string", "bytes"):
        each = each.plus(sizes.element_size(target).by(STRING_FACTOR))
    return sizes.size(target).times(each)


def _replaced(text: Range, old: Range, new: Range) -> Range:
    def count(length: int, by: int) -> int:
        return math.ceil(length / by) if length < MOST else MOST // by

    most_kept = least_kept = 0
    if old.least == 0:
        most, most_kept = min(text.most + 1, MOST), text.most
    elif new.most <= old.least:
        most, most_kept = 0, text.most
    else:
        most = count(text.most, old.least)
    if old.most == 0:
        least, least_kept = min(text.least + 1, MOST), text.least
    elif old.most <= new.least:
        least, least_kept = 0, text.least
    else:
        least = count(text.least, old.most)
    return Range(least, most).times(new).plus(Range(least_kept, most_kept))


def _join_size(sizes: Estimator, target: Expr, args: Sequence[Expr]) -> Range:
    count = sizes.size(target)
    found = count.times(sizes.element_size(target)) if target.type.parameters else FREE
    if args:
        between = Range(max(count.least - 1, 0), max(count.most - 1, 0))
        found = found.plus(sizes.size(args[0]).times(between))
    return found


def _contains(sizes: Estimator, arg: Expr, networks: bool, text: bool) -> Range:
    bytes_of = Range(4, 16)
    found = bytes_of.plus(bytes_of).by(STRING_FACTOR)
    if networks:
        found = found.plus(bytes_of.by(STRING_FACTOR)).plus(ONE)
    return found.plus(sizes.size(arg).by(STRING_FACTOR)) if text else found


def _lists(sizes: Estimator, node: Call, overload: Overload) -> Found | None:
    name, target, args = overload.id, node.target, node.args
    if name.startswith("list_sets_") and len(args) == 2:
        times = 2.0 if "equivalent" in name else 1.0
        return sizes.size(args[0]).times(sizes.size(args[1])).by(times).plus(ONE), None
    if name == "lists_range":
        return _allocating(1, _fixed(_whole(args[0], MOST)))
    if target is None:
        return None
    size = sizes.size(target)
    if name == "list_slice":
        return _allocating(1, _fixed((_whole(args[1], size.most) - _whole(args[0], 0)) & MOST))
    if name in ("list_flatten", "list_flatten_int"):
        return _allocating(float(_whole(args[0], MOST)) if args else 1.0, size)
    if name == "list_reverse":
        return _allocating(1, size)
    if name == "list_distinct":
        return _allocating(2, size.times(size))
    if name.endswith(("_sort", "_sortByAssociatedKeys")):
        keys = sizes.size(args[0]) if args else size
        text = STRING_FACTOR if "_string_" in name or "_bytes_" in name else 0.0
        return _allocating(2 + text, keys.times(keys))
    return None


def _fixed(size: int) -> Range:
    return Range(size, size)


def _allocating(factor: float, size: Range) -> Found:
    return size.by(factor).plus(ONE).plus(Range(LIST_COST, LIST_COST)), size


def _whole(node: Expr, otherwise: int) -> int:
    if isinstance(node, Literal) and type(node.value) is int:
        return max(node.value, 0)
    return otherwise
