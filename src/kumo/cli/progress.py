"""How far a long deed is, on a terminal only."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import click


def counter(verb: str, thing: str = "keys") -> Callable[[int], None]:
    """Call it with the count so far; it shows that at most four times a second, if somebody looks."""
    if not sys.stderr.isatty():
        return lambda _: None
    shown = time.monotonic()

    def show(count: int) -> None:
        nonlocal shown
        if time.monotonic() - shown > 0.25:
            shown = time.monotonic()
            click.echo(f"\r  {count:,} {thing} {verb}", nl=False, err=True)

    return show
