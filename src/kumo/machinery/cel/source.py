"""The text of an expression, and what is wrong at a place in it, as cel-go prints it."""

from __future__ import annotations

_MOST = 100


class Issues:
    """The complaints about one expression, to be shown together in the order of their places."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._found: list[tuple[int, int, str]] = []

    def report(self, offset: int, message: str) -> None:
        """Note a complaint at a place (in characters from the beginning)."""
        if not self._text:
            self._found.append((0, -1, message))  # There is no place in an empty text.
            return
        before = self._text[:offset]
        line = before.count("\n")
        self._found.append((line, offset - (before.rfind("\n") + 1), message))

    def __bool__(self) -> bool:
        return bool(self._found)

    def __str__(self) -> str:
        lines = self._text.split("\n")
        shown = []
        for line, column, message in sorted(self._found, key=lambda f: f[:2])[:_MOST]:
            text = f"ERROR: <input>:{line + 1}:{column + 1}: {message}"
            if column >= 0 and line < len(lines):
                row = lines[line].replace("\t", " ")
                dots = "".join("." if ord(c) < 128 else "．" for c in row[:column]).ljust(column, ".")
                mark = "＾" if column < len(row) and ord(row[column]) >= 128 else "^"
                text += f"\n | {row}\n | {dots}{mark}"
            shown.append(text)
        return "\n".join(shown)
