"""Names of properties as CEL spells them (k8s.io/apiserver/pkg/cel, escaping)."""

from __future__ import annotations

import re
from functools import lru_cache

_RESERVED = frozenset(
    (
        "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import",
        "let", "loop", "package", "namespace", "return", "var", "void", "while",
    )
)  # fmt: skip
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_OUT = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
_BACK = {spelled: character for character, spelled in _OUT.items()}
_SPECIAL = re.compile(r"__(?:underscores|dot|dash|slash)__")


@lru_cache(maxsize=4096)
def escaped(name: str) -> str:
    """The property's name in expressions; empty when it has none (and can't be asked for)."""
    if not _NAME.fullmatch(name):
        return ""
    if name in _RESERVED:
        return f"__{name}__"
    return re.sub(r"__|[./-]", lambda m: _OUT[m.group()], name)


@lru_cache(maxsize=4096)
def unescaped(name: str) -> str:
    """The property that a name in an expression stands for."""
    if not name.startswith("__") and "__" not in name:
        return name
    if name.startswith("__") and name.endswith("__") and name[2:-2] in _RESERVED:
        return name[2:-2]
    return _SPECIAL.sub(lambda m: _BACK[m.group()], name)
