"""What no death of a daemon may disturb: pods that serve; and commands in flight, which end when their way does."""

from __future__ import annotations

import asyncio
from typing import Any

from kumo.api.objects import Object, name_of, uid_of
from kumo.api.resources import DEPLOYMENTS, SERVICES
from support.cloud import program
from support.storm.ledger import select, serving
from support.storm.site import Site, pod_spec
from support.storm.works import deployment

_SPACE = "storm-steady"
_SERVER = "mkdir -p /www; hostname > /www/index.html; exec httpd -f -p 8080 -h /www"
_CLEAN_END = 30.0
"""Seconds within which a command ends whose daemon was killed."""


async def steady(site: Site) -> None:
    """Pods behind a Service that is asked all the while: no request fails, no container begins again."""
    await site.namespace(_SPACE)
    probe = {"tcpSocket": {"port": 8080}, "periodSeconds": 1}
    spec = pod_spec(_SERVER, readinessProbe=probe, livenessProbe=probe | {"failureThreshold": 5})
    await site.apply(DEPLOYMENTS, deployment(_SPACE, "steady", 3, spec))
    service = {"selector": {"app": "steady"}, "ports": [{"port": 80, "targetPort": 8080}]}
    made = await site.apply(
        SERVICES, {"kind": "Service", "metadata": {"name": "steady", "namespace": _SPACE}, "spec": service}
    )

    async def up() -> bool:
        return len(serving(site.ledger.of(_SPACE, app="steady"))) == 3

    await site.until(up, "the steady pods ready")
    address = made["spec"]["clusterIP"]

    async def answers() -> bool:
        return not await _ask(address)

    await site.until(answers, "the service answers")
    before = {uid_of(p): _containers(p) for p in site.ledger.of(_SPACE)}

    def check(pods: dict[str, Object]) -> str:
        mine = select(pods, _SPACE, app="steady")
        return "" if len(serving(mine)) == len(mine) == 3 else f"{len(serving(mine))} of {len(mine)} serve"

    site.ledger.checks["steady"] = check
    while site.going:
        if error := await _ask(address):
            site.ledger.wrong.append(f"the service failed: {error}")
        site.count("steady")
        await asyncio.sleep(0.02)
    del site.ledger.checks["steady"]
    assert {uid_of(p): _containers(p) for p in site.ledger.of(_SPACE)} == before


def _containers(pod: Object) -> list[Any]:
    return [(c["containerID"], c["restartCount"]) for c in pod["status"]["containerStatuses"]]


async def _ask(address: str) -> str:
    """What is wrong with the answer; empty when nothing is."""
    try:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection(address, 80)
            try:
                writer.write(b"GET / HTTP/1.0\r\n\r\n")
                answer = await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError) as error:
        return repr(error)
    return "" if b" 200 " in answer.split(b"\r\n")[0] and b"steady-" in answer else repr(answer[:80])


async def sessions(site: Site) -> None:
    """`kubectl logs -f`, `exec` and `port-forward` in flight: each ends when its way is cut, and works anew."""
    await site.until(lambda: _pods(site), "the steady pods")
    while site.going:
        await asyncio.gather(_session(site, "exec", "cat"), _session(site, "logs"), _session(site, "port-forward"))
        site.count("sessions")


async def _pods(site: Site) -> list[Object]:
    return serving(site.ledger.of(_SPACE, app="steady"))


async def _session(site: Site, verb: str, *command: str) -> None:
    pod = name_of((await site.until(lambda: _pods(site), "a steady pod"))[0])
    extra = {"exec": ("-i", pod, "--", *command), "logs": ("-f", pod), "port-forward": (pod, ":8080")}[verb]
    deaths = site.deaths()
    child = await asyncio.create_subprocess_exec(
        *(program("kubectl"), "-n", _SPACE, verb, *extra),
        env=site.cloud.env,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        while site.going and child.returncode is None and site.deaths() == deaths:
            await asyncio.sleep(0.1)
        if child.returncode is None and site.going:
            # kubectl port-forward outlives its way by design: it finds out with the next connection.
            if verb == "port-forward":
                return
            async with asyncio.timeout(_CLEAN_END):
                await child.wait()
    except TimeoutError:
        site.ledger.wrong.append(f"kubectl {verb} hung after a death")
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()
