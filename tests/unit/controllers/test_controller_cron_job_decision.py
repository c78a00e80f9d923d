"""Cron jobs by tables: which start is due, what is decided about it, what the books say."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.api.objects import parse_timestamp, timestamp
from kumo.kubernetes.controller_manager.cron_job import books
from kumo.kubernetes.controller_manager.cron_job.decision import SCHEDULED, delay_after_change, job_for, plan

pytestmark = pytest.mark.unit

CREATED = "2026-01-01T00:00:30Z"


def at(clock: str, day: int = 1) -> float:
    return parse_timestamp(f"2026-01-{day:02}T{clock}Z")


def cron_job(schedule: str = "*/10 * * * *", status: Any = None, **spec: Any) -> Any:
    template = {"metadata": {"labels": {"app": "report"}, "annotations": {"a": "b"}}, "spec": {"template": {}}}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "report", "namespace": "default", "uid": "c", "creationTimestamp": CREATED},
        "spec": {"schedule": schedule, "concurrencyPolicy": "Allow", "jobTemplate": template, **spec},
        "status": status or {},
    }


def job(name: str, end: str = "", started: str = "2026-01-01T00:00:00Z") -> Any:
    status: dict[str, Any] = {"startTime": started}
    if end:
        status["conditions"] = [{"type": end, "status": "True"}]
        status["completionTime"] = started
    return {"metadata": {"name": name, "namespace": "default", "uid": name}, "status": status}


def ref(name: str) -> dict[str, str]:
    return {"kind": "Job", "namespace": "default", "name": name, "uid": name}


LATER = {"startingDeadlineSeconds": 60}
RUNNING = {"active": [ref("old")], "lastScheduleTime": "2026-01-01T00:10:00Z"}


@pytest.mark.parametrize(
    ("subject", "now", "start", "reasons", "again"),
    [
        (cron_job(), at("00:05:00"), None, [], 300.1),
        (cron_job(), at("00:10:00"), at("00:10:00"), [], 600.1),
        (cron_job(status={"lastScheduleTime": "2026-01-01T00:10:00Z"}), at("00:12:00"), None, [], 480.1),
        # Of several missed starts the last one counts; above a hundred there is a warning.
        (cron_job(), at("01:05:00"), at("01:00:00"), [], 300.1),
        (cron_job(), at("00:05:00", day=3), at("00:00:00", day=3), ["TooManyMissedTimes"], 300.1),
        (cron_job(**LATER), at("00:05:00", day=3), None, [], 300.1),
        (cron_job(**LATER), at("00:10:30"), at("00:10:00"), [], 570.1),
        (cron_job(suspend=True), at("00:10:00"), None, [], None),
        (cron_job(status=RUNNING), at("00:20:00"), at("00:20:00"), [], 600.1),
        (cron_job(status=RUNNING, concurrencyPolicy="Forbid"), at("00:20:00"), None, ["JobAlreadyActive"], 600.1),
        (cron_job(status=RUNNING, concurrencyPolicy="Replace"), at("00:20:00"), at("00:20:00"), [], 600.1),
        # A job of that start's name is known as active already, though the status was not written to its end.
        (cron_job(status={"active": [ref("report-29453770")]}), at("00:10:30"), None, [], 570.1),
        (cron_job("0 0 31 2 *"), at("00:10:00"), None, ["InvalidSchedule"], None),
        (cron_job("* * * *"), at("00:10:00"), None, ["UnparseableSchedule"], None),
        (cron_job(timeZone="No/Where"), at("00:10:00"), None, ["UnknownTimeZone"], None),
        (cron_job("0 1 * * *", timeZone="Europe/Vienna"), at("00:10:00"), None, [], 85800.1),
        (cron_job("TZ=UTC */10 * * * *"), at("00:10:00"), at("00:10:00"), ["UnsupportedSchedule"], 600.1),
    ],
)
def test_cron_job_decides(subject: Any, now: float, start: float | None, reasons: list[str], again: float) -> None:
    made = plan(subject, now)
    assert (made.start, [reason for _, reason, _ in made.events]) == (start, reasons)
    assert made.again == (again if again is None else pytest.approx(again))
    replaced = start is not None and subject["spec"]["concurrencyPolicy"] == "Replace"
    assert made.replace == ([ref("old")] if replaced else [])


def test_cron_job_too_late_for_its_deadline() -> None:
    made = plan(cron_job(startingDeadlineSeconds=2), at("00:10:01"))
    assert made.start == at("00:10:00")
    made = plan({**cron_job(startingDeadlineSeconds=0)}, at("00:10:00") + 0.5)
    assert (made.start, made.events) == (None, [])


def test_cron_job_that_is_being_deleted_starts_nothing() -> None:
    subject = cron_job()
    subject["metadata"]["deletionTimestamp"] = CREATED
    assert plan(subject, at("01:00:00")).start is None


def test_cron_job_makes_the_job_of_a_start() -> None:
    made = job_for(cron_job(timeZone="Asia/Tokyo"), at("00:10:00"))
    assert made["metadata"]["name"] == f"report-{int(at('00:10:00')) // 60}"
    assert made["metadata"]["labels"] == {"app": "report"}
    assert made["metadata"]["annotations"] == {"a": "b", SCHEDULED: "2026-01-01T09:10:00+09:00"}
    (owner,) = made["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("CronJob", "c", True)
    assert made["spec"] == {"template": {}}
    assert job_for(cron_job(), at("00:10:00"))["metadata"]["annotations"][SCHEDULED] == "2026-01-01T00:10:00Z"


def test_cron_job_keeps_its_books() -> None:
    jobs = [
        job("old", "Complete", "2026-01-01T00:11:00Z"),
        job("older", "Complete", "2026-01-01T00:01:00Z"),
        job("bad", "Failed", "2026-01-01T00:12:00Z"),
        job("stray"),
    ]
    subject = cron_job(status={"active": [ref("old"), ref("bad"), ref("lost"), ref("late")]})
    assert [j["metadata"]["name"] for j in books.forgotten(subject, jobs)] == ["stray"]
    assert [r["name"] for r in books.missing(subject, jobs)] == ["lost", "late"]
    status, events = books.settle(subject, jobs, {"lost"})
    assert status == {"active": [ref("late")], "lastSuccessfulTime": "2026-01-01T00:11:00Z"}
    assert sorted(reason for _, reason, _ in events) == [
        "MissingJob",
        "SawCompletedJob",
        "SawCompletedJob",
        "UnexpectedJob",
    ]


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 1}, ["good-1", "good-2"]),
        ({"successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 0}, ["bad-1"]),
        ({}, []),
    ],
)
def test_cron_job_gives_up_the_oldest(limits: dict[str, int], expected: list[str]) -> None:
    jobs = [job(f"good-{n}", "Complete", timestamp(at("00:00:00") + n)) for n in (3, 1, 2)]
    jobs += [job("bad-1", "Failed"), job("running")]
    assert [j["metadata"]["name"] for j in books.surplus(cron_job(**limits), jobs)] == expected


@pytest.mark.parametrize(
    ("old", "new", "delay"),
    [
        (None, cron_job(), 0),
        (cron_job(), None, 0),
        (cron_job(), cron_job(suspend=True), 0),
        # What a changed schedule would have started already is not made up for.
        (cron_job("0 0 1 1 *"), cron_job("*/10 * * * *"), 300.1),
        (cron_job(), cron_job(timeZone="Asia/Tokyo"), 300.1),
        (cron_job(), cron_job(timeZone="No/Where"), 0),
        (cron_job(), cron_job("0 0 31 2 *"), 0),
    ],
)
def test_controller_cron_job_whose_schedule_changes_waits_for_its_next_start(old: Any, new: Any, delay: float) -> None:
    assert delay_after_change(old, new, at("00:35:00")) == pytest.approx(delay)


def test_controller_cron_job_of_an_unreadable_new_schedule() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        delay_after_change(cron_job(), cron_job("nonsense"), at("00:35:00"))
