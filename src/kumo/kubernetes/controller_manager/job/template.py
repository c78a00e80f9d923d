"""A job's pods as they are created. Pure."""

from __future__ import annotations

from typing import Any

from kumo.api.objects import Object, name_of
from kumo.kubernetes.controller_manager import pods as p
from kumo.kubernetes.controller_manager.job import failure_policy
from kumo.kubernetes.controller_manager.job.backoff import FAILURES, IGNORED, failures, ignored_failures
from kumo.kubernetes.controller_manager.job.indexes import INDEX
from kumo.kubernetes.controller_manager.job.view import TRACKING

_VARIABLE = "JOB_COMPLETION_INDEX"
_LONGEST_PREFIX = 58


def pod_for(job: Object, index: int | None, replaced: Object | None = None) -> Object:
    """A new pod, in an Indexed job for `index`; `replaced` is the failed pod of that index that it comes after."""
    pod = p.from_template(job["spec"]["template"], job)
    meta = pod["metadata"]
    finalizers = meta.get("finalizers") or []
    meta["finalizers"] = finalizers if TRACKING in finalizers else [*finalizers, TRACKING]
    if index is None:
        return pod
    meta["labels"] = {**(meta.get("labels") or {}), INDEX: str(index)}
    meta["annotations"] = {**(meta.get("annotations") or {}), INDEX: str(index)}
    meta["generateName"] = _prefix(name_of(job), index)
    pod["spec"]["hostname"] = f"{name_of(job)}-{index}"
    for kind in ("initContainers", "containers"):
        for container in pod["spec"].get(kind) or ():
            _tell_index(container)
    if job["spec"].get("backoffLimitPerIndex") is not None:
        meta["annotations"].update(_failures(job, replaced))
    return pod


def _prefix(name: str, index: int) -> str:
    end = f"-{index}-"
    return name[: _LONGEST_PREFIX - len(end)] + end


def _tell_index(container: dict[str, Any]) -> None:
    env = container.get("env") or []
    if not any(variable.get("name") == _VARIABLE for variable in env):
        source = {"fieldRef": {"fieldPath": f"metadata.labels['{INDEX}']"}}
        container["env"] = [*env, {"name": _VARIABLE, "valueFrom": source}]


def _failures(job: Object, replaced: Object | None) -> dict[str, str]:
    if replaced is None:
        return {FAILURES: "0"}
    counted = failure_policy.match(job["spec"].get("podFailurePolicy"), replaced).counted
    ignored = ignored_failures(replaced) + (not counted)
    return {FAILURES: str(failures(replaced) + counted)} | ({IGNORED: str(ignored)} if ignored else {})
