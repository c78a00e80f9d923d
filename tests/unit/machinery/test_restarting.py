"""Components that fail: begun again alone, but not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from kumo.machinery.restarting import Restarted

pytestmark = pytest.mark.unit


class Fatal(Exception):
    """What a new process is for."""


class Flaky:
    """Fails as told, run by run; then goes on."""

    name = "flaky"

    def __init__(self, *failures: BaseException | None) -> None:
        self.failures = list(failures)
        self.runs = 0
        self.works = asyncio.Event()

    async def run(self) -> None:
        self.runs += 1
        if self.failures:
            error = self.failures.pop(0)
            if error is not None:
                raise error
            return
        self.works.set()
        await asyncio.Event().wait()


async def test_one_component_begins_again_and_its_neighbour_notices_nothing() -> None:
    flaky, neighbour = Flaky(TypeError("odd"), None, ExceptionGroup("several", [KeyError("x")])), Flaky()
    with capture_logs() as logs:
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            tasks = [group.create_task(Restarted(c, Fatal, first=0.001).run()) for c in (flaky, neighbour)]
            await flaky.works.wait()
            for task in tasks:
                task.cancel()
    assert (flaky.runs, neighbour.runs) == (4, 1)
    assert [entry["again_in"] for entry in logs] == [0.001, 0.002, 0.004]
    assert all(entry["exc_info"] and entry["component"] == "flaky" for entry in logs)


@pytest.mark.parametrize(
    "failures",
    [
        lambda: [Fatal("of the process")],
        lambda: [ExceptionGroup("several", [ValueError("x"), ExceptionGroup("more", [Fatal("y")])])],
    ],
)
async def test_what_is_for_the_whole_process_is_passed_on_at_once(failures: Callable[[], list[Exception]]) -> None:
    flaky = Flaky(*failures())
    with pytest.raises((Fatal, ExceptionGroup)):
        await Restarted(flaky, Fatal, first=0.001).run()
    assert flaky.runs == 1


async def test_what_fails_again_and_again_ends_the_process() -> None:
    flaky = Flaky(*(ValueError(str(n)) for n in range(9)))
    with pytest.raises(ValueError, match="3"):
        await Restarted(flaky, tries=3, first=0.001).run()
    assert flaky.runs == 4
