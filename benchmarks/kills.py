"""kill -9 of the API server under sixteen writers, many times: is anything lost or doubled?

    python -m benchmarks.kills [--count 1000]

The clients record every call; in the end the history is checked against everything that the store has (see
tests/support/history.py). Exits with 1, and the findings, when it is impossible.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--writers", type=int, default=16)
    parser.add_argument("--port", type=int, default=21943)
    given = parser.parse_args()
    from support.kills import kill_again_and_again

    with TemporaryDirectory(prefix="kumo-kills-", dir="/var/tmp") as directory:
        work = kill_again_and_again(Path(directory) / "k", given.port, kills=given.count, writers=given.writers)
        try:
            outcome = asyncio.run(work)
        except AssertionError as error:
            print(error)
            return 1
    print(
        f"{outcome.kills} kills in {outcome.seconds:.0f} s under {given.writers} writers: {outcome.acknowledged} "
        f"writes acknowledged, {outcome.unknown} under way or without an answer, {outcome.reads} reads and "
        f"{outcome.watched} events: none lost, none doubled, none out of order"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
