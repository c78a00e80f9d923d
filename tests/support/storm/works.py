"""Works on sets of pods: rollouts, stateful sets, evictions within a budget, jobs, namespaces that come and go."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from kumo.api.conditions import is_true
from kumo.api.errors import StatusError
from kumo.api.objects import Object, annotations_of, labels_of, name_of, uid_of
from kumo.api.resources import CONFIGMAPS, DEPLOYMENTS, GVR, NAMESPACES, PODS, SERVICES, STATEFULSETS
from kumo.kubernetes.controller_manager.job import indexes
from kumo.kubernetes.controller_manager.job.indexes import INDEX
from support.storm.ledger import select, serving
from support.storm.site import Site, by_pod_name, pod_spec

JOBS = GVR("batch", "v1", "jobs")
BUDGETS = GVR("policy", "v1", "poddisruptionbudgets")
STAY = "trap 'sleep 0.3; exit 0' TERM; while :; do sleep 0.1; done"
READY = {"exec": {"command": ["true"]}, "periodSeconds": 1}
COMPLETIONS = 100


def deployment(namespace: str, name: str, replicas: int, spec: dict[str, Any], **fields: Any) -> Object:
    """A Deployment whose pods carry the label `app`."""
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": spec}
    return {
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template, **fields},
    }


def versioned(script: str, number: int, **fields: Any) -> dict[str, Any]:
    """A pod's spec that is another one for each number."""
    return pod_spec(script, env=[{"name": "VERSION", "value": str(number)}], readinessProbe=READY, **fields)


def version(pod: Object) -> str:
    """The number of a `versioned` spec."""
    return next(e["value"] for e in pod["spec"]["containers"][0]["env"] if e["name"] == "VERSION")


async def rollouts(site: Site) -> None:
    """A Deployment that is rolled again and again: never too many pods, never too few that serve."""
    space, replicas = await site.namespace("storm-rollouts"), 5
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2, "maxUnavailable": 1}}
    complete = False

    def check(pods: dict[str, Object]) -> str:
        mine = select(pods, space, app="roll")
        live = [p for p in mine if "deletionTimestamp" not in p["metadata"]]
        if len(live) > replicas + 2:
            return f"{len(live)} pods, {replicas + 2} allowed"
        return f"{len(serving(mine))} serve" if complete and len(serving(mine)) < replicas - 1 else ""

    site.ledger.checks["rollouts"] = check
    number = 0
    while site.going:
        number += 1
        wanted = deployment(space, "roll", replicas, versioned(STAY, number), strategy=strategy)
        await site.apply(DEPLOYMENTS, wanted)

        async def rolled(number: int = number) -> bool:
            mine = site.ledger.of(space, app="roll")
            return len(mine) == len(serving(mine)) == replicas and {version(p) for p in mine} == {str(number)}

        await site.until(rolled, f"rollout {number}")
        complete = True
        site.count("rollouts")
    del site.ledger.checks["rollouts"]


async def stateful(site: Site) -> None:
    """A StatefulSet that is updated, and loses pods: `audit` sees that no name runs twice."""
    space, replicas, number = await site.namespace("storm-stateful"), 3, 0
    service = {"clusterIP": "None", "selector": {"app": "set"}, "ports": [{"port": 80}]}
    await site.apply(SERVICES, {"kind": "Service", "metadata": {"name": "set", "namespace": space}, "spec": service})
    while site.going:
        number += 1
        wanted = deployment(space, "set", replicas, by_pod_name(versioned(STAY, number), space), serviceName="set")
        await site.apply(STATEFULSETS, wanted | {"kind": "StatefulSet"})
        if number % 3 == 0:
            await site.delete(PODS, "set-1", space, grace_period=1)

        async def updated(number: int = number) -> bool:
            mine = site.ledger.of(space, app="set")
            return len(mine) == len(serving(mine)) == replicas and {version(p) for p in mine} == {str(number)}

        await site.until(updated, f"update {number} of the stateful set")
        site.count("stateful")


async def evictions(site: Site) -> None:
    """Three who evict at once: the budget holds at every moment."""
    space, replicas, least = await site.namespace("storm-evictions"), 5, 3
    spec = pod_spec(STAY, readinessProbe=READY)
    await site.apply(DEPLOYMENTS, deployment(space, "guarded", replicas, spec))
    budget = {"minAvailable": least, "selector": {"matchLabels": {"app": "guarded"}}}
    await site.apply(
        BUDGETS, {"kind": "PodDisruptionBudget", "metadata": {"name": "b", "namespace": space}, "spec": budget}
    )

    async def whole() -> bool:
        mine = site.ledger.of(space, app="guarded")
        return len(mine) == len(serving(mine)) == replicas

    await site.until(whole, "the guarded pods ready")

    def check(pods: dict[str, Object]) -> str:
        found = len(serving(select(pods, space, app="guarded")))
        return f"{found} serve, the budget wants {least}" if found < least else ""

    site.ledger.checks["evictions"] = check

    async def evict() -> None:
        while site.going:
            for pod in site.ledger.of(space, app="guarded"):
                eviction = {
                    "apiVersion": "policy/v1",
                    "kind": "Eviction",
                    "metadata": {"name": name_of(pod), "namespace": space},
                    "deleteOptions": {"preconditions": {"uid": uid_of(pod)}},
                }
                try:
                    await site.client.create(PODS, eviction, space, subresource="eviction", name=name_of(pod))
                    site.count("evictions")
                except (StatusError, ConnectionError, OSError, TimeoutError):
                    await asyncio.sleep(0.1)
            await asyncio.sleep(0.05)

    await asyncio.gather(*(evict() for _ in range(3)))
    await site.until(whole, "the guarded pods ready again")
    del site.ledger.checks["evictions"]


async def jobs(site: Site) -> None:
    """Indexed Jobs with failures: what the pods wrote into a file is what the Job counted."""
    space, number = await site.namespace("storm-jobs"), 0
    while site.going:
        number += 1
        await _job(site, space, number)
        site.count("jobs")


_INDEX = """
i=$JOB_COMPLETION_INDEX
echo "began $i" >> /out/$JOB
case $i in *7) echo "F $i" >> /out/$JOB; exit 1;; esac
if [ $((i % 10)) = 3 ] && [ ! -e /out/$JOB.$i ]; then touch /out/$JOB.$i; echo "F $i" >> /out/$JOB; exit 1; fi
echo "S $i" >> /out/$JOB
"""


async def _job(site: Site, space: str, number: int) -> None:
    name = f"many-{number}"
    output = site.directory / "jobs"
    output.mkdir(exist_ok=True)
    pod = pod_spec(
        _INDEX,
        env=[{"name": "JOB", "value": name}],
        volumeMounts=[{"name": "out", "mountPath": "/out"}],
        pod_restartPolicy="Never",
        pod_volumes=[{"name": "out", "hostPath": {"path": str(output), "type": "Directory"}}],
    )
    spec = {
        "completions": COMPLETIONS,
        "parallelism": 12,
        "completionMode": "Indexed",
        "backoffLimitPerIndex": 1,
        "template": {"spec": pod},
    }
    await site.apply(JOBS, {"kind": "Job", "metadata": {"name": name, "namespace": space}, "spec": spec})

    async def ended() -> Object | None:
        job = await site.get(JOBS, name, space)
        assert job is not None
        return job if is_true(job, "Complete") or is_true(job, "Failed") else None

    job: Object = await site.until(ended, f"the end of job {name}", 240)
    ended = [p for p in site.ledger.ended.values() if labels_of(p).get("job-name") == name]
    wrong = judged(job["status"], ended, (output / name).read_text().splitlines())
    assert not wrong, f"{name}: {wrong}"
    await site.delete(JOBS, name, space, propagation="Background")


def judged(status: dict[str, Any], ended: list[Object], lines: list[str]) -> list[str]:
    """What a Job's status has other than its pods, and what they wrote (`began`, `S` or `F`, and the index). Pure.

    A daemon that is killed while it starts a container fails that pod (upstream's does too): its index has another try
    less. So what is expected follows from the pods that were seen to end.
    """
    wrong: list[str] = []
    numbers = {
        phase: Counter(int(annotations_of(p)[INDEX]) for p in ended if p["status"]["phase"] == phase)
        for phase in ("Succeeded", "Failed")
    }
    good, bad = numbers["Succeeded"], numbers["Failed"]
    lost = sorted(i for i in range(COMPLETIONS) if bad[i] > 1 and not good[i])
    if set(good.values()) - {1} or len(good) + len(lost) != COMPLETIONS:
        wrong.append(f"succeeded {good}, lost {lost}")
    counted = (status.get("succeeded", 0), status.get("failed", 0), indexes.parse(status["failedIndexes"], COMPLETIONS))
    if counted != (len(good), bad.total(), indexes.of(lost)):
        wrong.append(f"counted {counted} instead of {(len(good), bad.total(), lost)}")
    told = Counter(line.split()[0] + line.split()[1] for line in lines if line[0] in "SF")
    for index in range(COMPLETIONS):
        # A pod that is told to have failed may have got to its end before that; none other.
        if told[f"S{index}"] + told[f"F{index}"] > good[index] + bad[index] or (good[index] and not told[f"S{index}"]):
            wrong.append(f"index {index}: wrote {told[f'S{index}']} S, {told[f'F{index}']} F")
    if status.get("uncountedTerminatedPods"):
        wrong.append(f"uncounted: {status['uncountedTerminatedPods']}")
    return wrong


async def namespaces(site: Site) -> None:
    """Namespaces that go with all that is in them, amid the starts of their pods."""
    number = 0
    while site.going:
        number += 1
        name = await site.namespace(f"storm-gone-{number}")
        await site.apply(DEPLOYMENTS, deployment(name, "some", 3, pod_spec(STAY)))
        config = {"kind": "ConfigMap", "metadata": {"name": "c", "namespace": name}, "data": {"k": "v"}}
        await site.apply(CONFIGMAPS, config)
        await asyncio.sleep(number % 4 * 0.4)
        await site.delete(NAMESPACES, name)

        async def gone(name: str = name) -> bool:
            return await site.get(NAMESPACES, name) is None

        await site.until(gone, f"the end of namespace {name}")
        site.count("namespaces")
