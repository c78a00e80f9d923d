"""Whether the `Object...` types that a mutation makes are named after the fields they are put in.

Nothing else checks them: without the kind's schema every field of an `Object` is dynamic. Upstream looks at the value
that an evaluation gives; here the expression itself is looked at, once.
"""

from __future__ import annotations

from kumo.machinery.cel.syntax import Call, Expr, ListExpr, MapExpr, StructExpr

_ROOT = "Object"


def mismatches(root: Expr) -> list[str]:
    """What is wrong, in upstream's words."""
    return list(dict.fromkeys(_of(root, "")))


def _of(node: Expr, path: str) -> list[str]:
    """The mismatches at a place; `path` is the type name that belongs there, empty where any may begin."""
    if isinstance(node, StructExpr):
        return _of_struct(node, path)
    if isinstance(node, ListExpr):
        return [text for item in node.elements for text in _of(item, path)]
    if isinstance(node, MapExpr):
        return [text for _, value, _ in node.entries for text in _of(value, path)]
    if isinstance(node, Call) and node.function == "_?_:_":
        return [text for branch in node.args[1:] for text in _of(branch, path)]
    return []


def _of_struct(node: StructExpr, path: str) -> list[str]:
    if node.name == "JSONPatch":
        return [text for _, value, _, _ in node.fields for text in _of(value, "")]
    if node.name != _ROOT and not node.name.startswith(_ROOT + "."):
        return []
    found = []
    here = path or node.name
    if node.name != here:
        wanted = f'"{here}", which matches field name path from root Object type'
        found.append(f'unexpected type name "{node.name}", expected {wanted}')
    for name, value, _, _ in node.fields:
        found += _of(value, f"{here}.{name}")
    return found
