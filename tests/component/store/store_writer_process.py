"""A process that writes to a store as fast as it can and says what was acknowledged; the test kills it.

python store_writer_process.py DATABASE WRITERS ROUND
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from kumo.store.sqlite import SqliteStore


async def main() -> None:
    store = SqliteStore(Path(sys.argv[1]))
    await store.start()
    out = sys.stdout

    async def write(worker: int) -> None:
        count = 0
        while True:
            key = f"/p/{worker}-{count % 5}"
            value = f"{sys.argv[3]}.{count}"
            if count % 7 == 6:
                revision = await store.delete(key)
                value = ""
            else:
                revision = await store.put(key, value.encode())
            out.write(f"{revision} {key} {value}\n")
            out.flush()
            count += 1

    await asyncio.gather(*(write(worker) for worker in range(int(sys.argv[2]))))


asyncio.run(main())
