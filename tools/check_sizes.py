"""Check the sizes that ARCHITECTURE.md allows modules and functions: `python tools/check_sizes.py`.

Modules: median under 150 lines, 95th percentile under 600, none over 900. Functions: 95th percentile under 50, none
over 120. Generated files do not count.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src"
GENERATED = ("stubs",)


def percentile(sizes: list[int], share: float) -> int:
    """The size that this share of all sizes does not exceed."""
    ordered = sorted(sizes)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0


def measure(source: Path) -> tuple[dict[str, int], dict[str, int]]:
    """Lines of each module and of each function (named `module:line name`)."""
    modules: dict[str, int] = {}
    functions: dict[str, int] = {}
    for path in sorted(source.rglob("*.py")):
        if any(part in GENERATED for part in path.parts):
            continue
        text = path.read_text()
        name = str(path.relative_to(source))
        if path.name != "__init__.py":
            modules[name] = text.count("\n")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                functions[f"{name}:{node.lineno} {node.name}"] = (node.end_lineno or node.lineno) - node.lineno + 1
    return modules, functions


def main() -> int:
    """Print what is too large; the exit code."""
    modules, functions = measure(SOURCE)
    wrong = [f"{name}: {size} lines, a module may have 900" for name, size in modules.items() if size > 900]
    wrong += [f"{name}: {size} lines, a function may have 120" for name, size in functions.items() if size > 120]
    limits = (
        ("modules' median", percentile(list(modules.values()), 0.5), 150),
        ("modules' 95th percentile", percentile(list(modules.values()), 0.95), 600),
        ("functions' 95th percentile", percentile(list(functions.values()), 0.95), 50),
    )
    wrong += [f"{what}: {size} lines, the limit is {limit}" for what, size, limit in limits if size >= limit]
    for line in wrong:
        print(line)
    if not wrong:
        print(f"{len(modules)} modules, {len(functions)} functions: " + ", ".join(f"{w} {s}" for w, s, _ in limits))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
