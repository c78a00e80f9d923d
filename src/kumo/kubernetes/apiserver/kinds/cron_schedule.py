"""Cron schedules: what is wrong with one, in the words of upstream's parser."""

from __future__ import annotations

from kumo.api import cron


def check_schedule(text: str) -> str:
    """What is wrong with a cron schedule; empty if it is good. A time zone before it is not looked at."""
    if text.startswith(("TZ=", "CRON_TZ=")):
        zone, space, text = text.partition(" ")
        if not space:
            return f"provided bad location {zone.partition('=')[2]}"
        text = text.strip()
    try:
        cron.parse(text)
    except ValueError as error:
        return str(error)
    return ""
