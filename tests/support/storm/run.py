"""A storm: works go on, chaos kills, and afterwards everything is as if nothing had happened."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from kumo.api.resources import NAMESPACES, NODES, PODS
from kumo.host import loop, mounts
from kumo.machinery import kubeconfig
from kumo.machinery.client import Client
from support.cloud import Cloud
from support.storm.audit import Audit
from support.storm.chaos import Chaos
from support.storm.ledger import Ledger
from support.storm.site import Site
from support.traces import Traces

Work = Callable[[Site], Awaitable[None]]


@dataclass
class Outcome:
    """What came of it. `wrong` is empty when all was well."""

    wrong: list[str] = field(default_factory=list)
    deaths: list[str] = field(default_factory=list)
    done: dict[str, int] = field(default_factory=dict)
    events: int = 0
    looks: int = 0


async def storm(
    cloud: Cloud, works: Sequence[Work], seed: int, seconds: float, *, pause: float = 6.0, after: Sequence[str] = ()
) -> Outcome:
    """Let the works go on for so many seconds of killing, and to their ends; then look at the node.

    A work counts its rounds under its own name; one that never came round is wrong. The killing begins once all that
    `after` names has been counted.
    """
    transport = kubeconfig.transport(cloud.data_dir / "admin.kubeconfig")
    chaos, ledger, outcome = Chaos(cloud, seed), Ledger(Client(transport)), Outcome()
    directory = cloud.data_dir / "storm"
    directory.mkdir(exist_ok=True)
    site = Site(cloud, Client(transport), ledger, directory)
    site.deaths = lambda: sum(any(w in told for w in ("control", "node", "super")) for told in chaos.told)
    following = asyncio.create_task(ledger.run())
    audit = Audit(chaos.instance.cgroup_root)
    try:
        with audit:
            tasks = [asyncio.create_task(work(site), name=work.__name__) for work in works]

            async def kill() -> None:
                while not all(site.done.get(each) for each in after):
                    await asyncio.sleep(0.1)
                await chaos.run(seconds, pause)

            killing = asyncio.create_task(kill())
            await asyncio.wait({killing, following, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            site.going = False
            killing.cancel()
            for task, result in zip(tasks, await asyncio.gather(*tasks, return_exceptions=True), strict=True):
                if result is not None:
                    outcome.wrong.append(f"{task.get_name()}: {result!r}")
                elif not site.done.get(task.get_name()):
                    outcome.wrong.append(f"{task.get_name()} never came round")
        outcome.wrong += [*ledger.wrong, *(f"twice: {t}" for t in audit.twice)]
        ledger.checks.clear()
        try:
            await clear(site)
            if strange := await settled(site):
                outcome.wrong.append(f"left on the node: {strange}")
        except AssertionError as error:
            outcome.wrong.append(f"afterwards: {error}")
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await transport.close()
        shutil.rmtree(directory, ignore_errors=True)
    outcome.deaths, outcome.done, outcome.events, outcome.looks = chaos.told, site.done, ledger.events, audit.looks
    return outcome


async def clear(site: Site) -> None:
    """Take away what works have made."""

    async def mine() -> list[str]:
        listing = await site.answered(lambda: site.client.list(NAMESPACES))
        return [n for i in (listing.items if listing else ()) if (n := i["metadata"]["name"]).startswith("storm-")]

    for name in await mine():
        await site.delete(NAMESPACES, name)

    async def gone() -> bool:
        return not await mine()

    await site.until(gone, "the end of the storm's namespaces", 120)


async def settled(site: Site) -> dict[str, object]:
    """What the node has too much or too little of once it had its time; nothing, if all is well."""
    traces, found = Traces(site.cloud.data_dir), dict[str, object]()

    async def look() -> bool:
        found.clear()
        found.update(await _strange(site, traces))
        return not found

    try:
        await site.until(look, "a clean node", 75)
    except AssertionError:
        return found
    return {}


async def _strange(site: Site, traces: Traces) -> dict[str, object]:
    listing = await site.answered(lambda: site.client.list(PODS))
    nodes = await site.answered(lambda: site.client.list(NODES))
    assert listing is not None and nodes is not None
    here = [p for p in listing.items if p["status"].get("phase") == "Running" and p["spec"].get("nodeName")]
    found: dict[str, object] = dict(traces.of_others([p["metadata"]["uid"] for p in listing.items]))
    counts = await asyncio.to_thread(traces.counts)
    if set(counts.values()) != {len(here)}:
        found["counts"] = counts | {"pods": len(here)}
    directory = site.cloud.data_dir
    volumes = [m.path for m in mounts.mount_points() if m.path.startswith(f"{directory}/node/plugins/")]
    if left := [str(d) for d in loop.attached_below(directory)] + volumes:
        found["volumes"] = left
    return found
