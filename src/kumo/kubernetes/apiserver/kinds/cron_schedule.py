"""Cron schedules: what is wrong with one, in the words of upstream's parser (robfig/cron, standard form)."""

from __future__ import annotations

import re

_MACRO = re.compile(r"@(yearly|annually|monthly|weekly|daily|midnight|hourly)")
_DURATION = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)((\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h))*|0")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: tuple[tuple[int, int, tuple[str, ...]], ...] = (
    (0, 59, ()),
    (0, 23, ()),
    (1, 31, ()),
    (1, 12, _MONTHS),
    (0, 6, _DAYS),
)


def check_schedule(text: str) -> str:
    """What is wrong with a cron schedule; empty if it is good. A time zone before it is not looked at."""
    if text.startswith(("TZ=", "CRON_TZ=")):
        zone, space, text = text.partition(" ")
        if not space:
            return f"provided bad location {zone.partition('=')[2]}"
        text = text.strip()
    if text.startswith("@"):
        if text.startswith("@every "):
            span = text.removeprefix("@every ")
            good = _DURATION.fullmatch(span)
            return "" if good else f'failed to parse duration {text}: time: invalid duration "{span}"'
        return "" if _MACRO.fullmatch(text) else f"unrecognized descriptor: {text}"
    parts = text.split()
    if len(parts) != len(_FIELDS):
        return f"expected exactly 5 fields, found {len(parts)}: [{' '.join(parts)}]"
    for part, (low, high, words) in zip(parts, _FIELDS):
        for item in part.split(","):
            if item and (wrong := _check_item(item, low, high, words)):
                return wrong
    return ""


def _check_item(item: str, low: int, high: int, words: tuple[str, ...]) -> str:
    span, *steps = item.split("/")
    first, *last = span.split("-")
    if first in ("*", "?"):
        start, end = low, high
    else:
        try:
            start = _number(first, low, words)
            end = start
            if len(last) == 1:
                end = _number(last[0], low, words)
        except ValueError as e:
            return str(e)
        if len(last) > 1:
            return f"too many hyphens: {item}"
    step = 1
    if len(steps) > 1:
        return f"too many slashes: {item}"
    if steps:
        try:
            step = _number(steps[0], 0, ())
        except ValueError as e:
            return str(e)
        if not last and first not in ("*", "?"):
            end = high
    if start < low:
        return f"beginning of range ({start}) below minimum ({low}): {item}"
    if end > high:
        return f"end of range ({end}) above maximum ({high}): {item}"
    if start > end:
        return f"beginning of range ({start}) beyond end of range ({end}): {item}"
    return "" if step else f"step of range should be a positive number: {item}"


def _number(text: str, low: int, words: tuple[str, ...]) -> int:
    if text.lower() in words:
        return words.index(text.lower()) + low
    if not re.fullmatch(r"[+-]?[0-9]+", text, re.ASCII):
        raise ValueError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
    if int(text) < 0:
        raise ValueError(f"negative number ({int(text)}) not allowed: {text}")
    return int(text)
