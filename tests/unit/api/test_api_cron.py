"""Cron schedules by tables: what they mean, and when clocks are put forward or back."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from kumo.api import cron

pytestmark = pytest.mark.unit

VIENNA = "Europe/Vienna"


def starts(schedule: str, zone: str, since: str, count: int = 3) -> list[str]:
    at = datetime.fromisoformat(since).replace(tzinfo=ZoneInfo(zone)).timestamp()
    read, found = cron.parse(schedule, ZoneInfo(zone)), []
    for _ in range(count):
        following = read.after(at)
        if following is None:
            return found
        at = following
        found.append(datetime.fromtimestamp(at, ZoneInfo(zone)).strftime("%y-%m-%d %H:%M:%S%z"))
    return found


@pytest.mark.parametrize(
    ("schedule", "zone", "since", "expected"),
    [
        ("*/20 * * * *", "UTC", "2026-01-01T00:05", ["26-01-01 00:20:00+0000", "26-01-01 00:40:00+0000"]),
        ("5/20 1-3/2 * * *", "UTC", "2026-01-01T01:26", ["26-01-01 01:45:00+0000", "26-01-01 03:05:00+0000"]),
        ("0 12 * JAN-mar/2 *", "UTC", "2026-01-31T13:00", ["26-03-01 12:00:00+0000", "26-03-02 12:00:00+0000"]),
        # Without a star in either, the day of the month or that of the week is enough; with one, both must be right.
        ("0 0 13 * fri", "UTC", "2026-01-09T01:00", ["26-01-13 00:00:00+0000", "26-01-16 00:00:00+0000"]),
        ("0 0 13 * *", "UTC", "2026-01-09T01:00", ["26-01-13 00:00:00+0000", "26-02-13 00:00:00+0000"]),
        ("0 0 */2 * fri", "UTC", "2026-01-01T01:00", ["26-01-02 00:00:00+0000", "26-01-03 00:00:00+0000"]),
        ("0 0 29 2 ?", "UTC", "2026-01-01T00:00", ["28-02-29 00:00:00+0000", "32-02-29 00:00:00+0000"]),
        ("0 0 31 2 *", "UTC", "2026-01-01T00:00", []),
        ("@weekly", "UTC", "2026-01-01T00:00", ["26-01-04 00:00:00+0000", "26-01-11 00:00:00+0000"]),
        ("@every 1m30.7s", "UTC", "2026-01-01T00:00", ["26-01-01 00:01:30+0000", "26-01-01 00:03:00+0000"]),
        ("@every 10ms", "UTC", "2026-01-01T00:00", ["26-01-01 00:00:01+0000", "26-01-01 00:00:02+0000"]),
        # In spring half past two is left out, in autumn it comes twice.
        ("30 2 * * *", VIENNA, "2026-03-28T00:00", ["26-03-28 02:30:00+0100", "26-03-30 02:30:00+0200"]),
        ("30 2 * * *", VIENNA, "2026-10-25T00:00", ["26-10-25 02:30:00+0200", "26-10-25 02:30:00+0100"]),
        # A day without midnight.
        ("0 0 * * *", "America/Sao_Paulo", "2018-11-02T12:00", ["18-11-03 00:00:00-0300", "18-11-05 00:00:00-0200"]),
        ("30 0 4 * *", "Australia/Lord_Howe", "2026-10-01T00:00", ["26-10-04 00:30:00+1030", "26-11-04 00:30:00+1100"]),
    ],
)
def test_cron_starts(schedule: str, zone: str, since: str, expected: list[str]) -> None:
    assert starts(schedule, zone, since, 2) == expected


def test_cron_zone_in_the_schedule_wins() -> None:
    read = cron.parse("CRON_TZ=Asia/Tokyo 0 9 * * *", ZoneInfo(VIENNA))
    assert read.after(0) == 86400.0


@pytest.mark.parametrize(
    ("schedule", "wrong"),
    [
        ("", "empty spec string"),
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        ("* * * foo *", 'failed to parse int from foo: strconv.Atoi: parsing "foo": invalid syntax'),
        ("@never", "unrecognized descriptor: @never"),
        ("@every 5y", 'failed to parse duration @every 5y: time: invalid duration "5y"'),
        ("TZ=../../etc/passwd * * * * *", "provided bad location ../../etc/passwd: unknown time zone ../../etc/passwd"),
    ],
)
def test_cron_words_about_what_is_wrong(schedule: str, wrong: str) -> None:
    with pytest.raises(ValueError) as refused:
        cron.parse(schedule)
    assert str(refused.value) == wrong
