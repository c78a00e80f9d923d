"""Jobs and cron jobs."""

from __future__ import annotations

import copy
import re
import zoneinfo
from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.api.objects import Object, metadata, new_uid
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds.checks import set_default, spec_of, unchanged
from kumo.kubernetes.apiserver.kinds.cron_schedule import check_schedule
from kumo.kubernetes.apiserver.kinds.go_diff import internal
from kumo.kubernetes.apiserver.kinds.job_checks import check_job_spec
from kumo.kubernetes.apiserver.kinds.job_status import is_true, validate_job_status
from kumo.kubernetes.apiserver.kinds.pod import Options
from kumo.kubernetes.apiserver.kinds.pod.options import TEMPLATE
from kumo.kubernetes.apiserver.kinds.rules import Rules, as_field, at
from kumo.kubernetes.apiserver.kinds.selector_validation import validate_label_selector
from kumo.kubernetes.apiserver.kinds.workload_checks import (
    check_counts,
    check_selected,
    default_labels,
    default_template,
    drop_from_template,
    is_usable,
    shown,
    template_options,
    template_warner,
)

_UID = ("controller-uid", "batch.kubernetes.io/controller-uid")
_NAME = ("job-name", "batch.kubernetes.io/job-name")
_CRON_TEMPLATE = "spec.jobTemplate.spec.template.spec"
_CONCURRENCY = ("Allow", "Forbid", "Replace")
_ZONE_PART = re.compile(r"[A-Za-z.\-_0-9+]{1,14}")
_POLICIES = {"podFailurePolicy": "batch.v1.PodFailurePolicy", "successPolicy": "batch.v1.SuccessPolicy"}


# -- jobs -------------------------------------------------------------------------------------------------------------


def _default_job(obj: Object) -> None:
    spec = spec_of(obj)
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = spec["parallelism"] = 1
    set_default(
        spec,
        parallelism=1,
        backoffLimit=6 if spec.get("backoffLimitPerIndex") is None else (1 << 31) - 1,
        completionMode="NonIndexed",
        suspend=False,
        manualSelector=False,
        podReplacementPolicy="Failed" if spec.get("podFailurePolicy") is not None else "TerminatingOrFailed",
    )
    default_labels(obj)
    _default_conditions(spec)
    default_template(spec)


def _default_conditions(spec: dict[str, Any]) -> None:
    for rule in (spec.get("podFailurePolicy") or {}).get("rules") or ():
        for condition in rule.get("onPodConditions") or ():
            condition["status"] = condition.get("status") or "True"


def _on_create(obj: Object) -> None:
    """A job selects its pods by its own uid, unless it says that it selects them itself."""
    spec, meta = spec_of(obj), metadata(obj)
    drop_from_template(obj)
    if spec.get("manualSelector"):
        return
    uid = meta.get("uid") or ""
    if not uid:
        uid = meta["uid"] = new_uid()
    template = spec.setdefault("template", {})
    template["metadata"] = dict(template.get("metadata") or {})
    before = template["metadata"].get("labels") or {}
    shared = not meta.get("labels") or meta["labels"] is before
    template["metadata"]["labels"] = (
        dict.fromkeys(_UID, uid) | dict.fromkeys(_NAME, meta.get("name") or "") | dict(before)
    )
    if shared:  # The defaults took them from the template, as there were none.
        meta["labels"] = dict(template["metadata"]["labels"])
    selector = spec["selector"] = dict(spec.get("selector") or {})
    selector["matchLabels"] = {_UID[1]: uid, **(selector.get("matchLabels") or {})}


def _check_generated(obj: Object, found: list[Cause], old: Object | None = None) -> None:
    """Labels and selector of a job that does not select its pods itself are upstream's own."""
    spec = obj.get("spec") or {}
    if spec.get("manualSelector") or spec.get("selector") is None:
        return
    uid, name = at(obj, "metadata.uid") or "", at(obj, "metadata.name") or ""
    labels = at(spec, "template.metadata.labels") or {}
    wanted = {_UID[0]: uid, _NAME[0]: name, _UID[1]: uid, _NAME[1]: name}
    before = at(old, "spec.template.metadata.labels") or {}
    if old is not None and not (_UID[1] in before and _NAME[1] in before):
        wanted = {_UID[0]: uid, _NAME[0]: name}
    for key, value in wanted.items():
        if key not in labels:
            found.append(fields.required(f"spec.template.metadata.labels[{key}]", f"must be '{value}'"))
        elif labels[key] != value:
            ordered = dict(sorted(labels.items()))
            found.append(fields.invalid(f"spec.template.metadata.labels[{key}]", ordered, f"must be '{value}'"))
    if is_usable(spec["selector"]):
        missed: list[Cause] = []
        check_selected("", spec["selector"], {"metadata": {"labels": wanted}}, missed)
        if missed:
            found.append(fields.invalid("spec.selector", shown(spec["selector"]), "`selector` not auto-generated"))


def _job_spec(spec: dict[str, Any], options: Options) -> list[Cause]:
    found = check_job_spec("spec", spec, options)
    selector = spec.get("selector")
    if selector is None:
        found.append(fields.required("spec.selector"))
    else:
        found += validate_label_selector("spec.selector", selector)
    if is_usable(selector):
        check_selected("spec.template", selector, spec.get("template") or {}, found)
    return found


def _validate_job(obj: Object, options: Options = TEMPLATE, old: Object | None = None) -> list[Cause]:
    spec = obj.get("spec") or {}
    found: list[Cause] = []
    _check_generated(obj, found, old)
    found += _job_spec(spec, options)
    completions, name = spec.get("completions") or 0, at(obj, "metadata.name") or ""
    if spec.get("completionMode") == "Indexed" and completions > 0:
        host = f"{name}-{completions - 1}"
        if names.check_label(host):
            text = f"will not able to create pod with invalid DNS label: {host}"
            found.append(fields.invalid("metadata.name", name, text))
    return found


def _check_job_update(new: Object, old: Object) -> list[Cause]:
    spec = new.get("spec") or {}
    found = _validate_job(new, template_options(old), old)
    found += _job_spec(spec, template_options(old))  # Twice, as upstream says it; the message has each once.
    completions = spec.get("completions")
    if spec.get("completionMode") != "Indexed":
        found += unchanged(new, old, "spec.completions")
    elif completions not in (None, at(old, "spec.completions")) and completions != spec.get("parallelism"):
        text = "can only be modified in tandem with spec.parallelism"
        found.append(fields.invalid("spec.completions", completions, text))
    if spec.get("selector") != at(old, "spec.selector"):
        found.append(fields.immutable("spec.selector", shown(spec.get("selector"))))
    _check_template(new, old, found)
    for key in ("completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"):
        value, kind = spec.get(key), _POLICIES.get(key)
        if value != at(old, f"spec.{key}"):
            found.append(fields.immutable(f"spec.{key}", internal(kind, value) if kind and value else value))
    return found


def _check_template(new: Object, old: Object, found: list[Cause]) -> None:
    """The template stays; a job that waits may change where its pods go and what they ask for."""
    ours, theirs = copy.deepcopy(at(new, "spec.template") or {}), at(old, "spec.template") or {}
    suspended, waits = bool(at(old, "spec.suspend")), _waits(old)
    if waits:
        _overlook_scheduling(ours, theirs)
    if waits and suspended:
        _overlook_resources(ours.setdefault("spec", {}), theirs.get("spec") or {})
        if ours["spec"] != (theirs.get("spec") or {}):
            found.append(
                fields.immutable("spec.template.spec", internal("core.v1.PodSpec", at(new, "spec.template.spec")))
            )
    elif ours != theirs:
        found.append(fields.immutable("spec.template", internal("core.v1.PodTemplateSpec", at(new, "spec.template"))))


def _waits(job: Object) -> bool:
    """Whether a job is suspended and has no pods."""
    idle = at(job, "status.startTime") is None or is_true(job, "Suspended")
    return bool(at(job, "spec.suspend")) and idle and not at(job, "status.active")


def _overlook_scheduling(template: dict[str, Any], old: dict[str, Any]) -> None:
    theirs, spec = old.get("spec") or {}, template.setdefault("spec", {})
    for key in ("nodeSelector", "tolerations", "schedulingGates"):
        _put(spec, key, theirs.get(key))
    affinity = {k: v for k, v in (spec.get("affinity") or {}).items() if k != "nodeAffinity"}
    nodes = (theirs.get("affinity") or {}).get("nodeAffinity")
    _put(spec, "affinity", affinity | ({"nodeAffinity": nodes} if nodes is not None else {}) or None)
    meta = template.setdefault("metadata", {})
    for key in ("labels", "annotations"):
        _put(meta, key, (old.get("metadata") or {}).get(key))


def _overlook_resources(spec: dict[str, Any], old: dict[str, Any]) -> None:
    for key in ("containers", "initContainers"):
        ours, before = spec.get(key) or (), old.get(key) or ()
        for container, stale in zip(ours, before) if len(ours) == len(before) else ():
            if container.get("name") == stale.get("name"):
                _put(container, "resources", stale.get("resources"))


def _put(obj: dict[str, Any], key: str, value: Any) -> None:
    obj.pop(key, None)
    if value is not None:
        obj[key] = value


# -- cron jobs --------------------------------------------------------------------------------------------------------


def _default_cron(obj: Object) -> None:
    spec = spec_of(obj)
    spec["concurrencyPolicy"] = spec.get("concurrencyPolicy") or "Allow"
    set_default(spec, suspend=False, successfulJobsHistoryLimit=3, failedJobsHistoryLimit=1)
    job = spec.setdefault("jobTemplate", {}).setdefault("spec", {})
    _default_conditions(job)
    default_template(job)


def _drop_from_cron(new: Object, old: Object | None = None) -> None:
    drop_from_template(new, old, _CRON_TEMPLATE)


def _cron_spec(spec: dict[str, Any], old: dict[str, Any] | None, options: Options) -> list[Cause]:
    found: list[Cause] = []
    schedule, zone = spec.get("schedule") or "", spec.get("timeZone")
    if not schedule:
        found.append(fields.required("spec.schedule"))
    else:
        zoned = old is not None and "TZ" in (old.get("schedule") or "")
        if wrong := check_schedule(schedule):
            found.append(fields.invalid("spec.schedule", schedule, wrong))
        if zoned and "TZ" in schedule and zone is not None:
            text = "cannot use both timeZone field and TZ or CRON_TZ in schedule"
            found.append(fields.invalid("spec.schedule", schedule, text))
        elif not zoned and "TZ" in schedule:
            text = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
            found.append(fields.invalid("spec.schedule", schedule, text))
    check_counts(spec, "spec", found, "startingDeadlineSeconds")
    if zone is not None and (old is None or old.get("timeZone") != zone):
        _check_zone(zone, found)
    policy = spec.get("concurrencyPolicy") or ""
    if not policy:
        found.append(fields.required("spec.concurrencyPolicy"))
    elif policy not in _CONCURRENCY:
        found.append(fields.unsupported("spec.concurrencyPolicy", policy, _CONCURRENCY))
    job, path = at(spec, "jobTemplate.spec") or {}, "spec.jobTemplate.spec"
    found += check_job_spec(path, job, options)
    if job.get("selector") is not None:
        text = "`selector` will be auto-generated"
        found.append(fields.invalid(f"{path}.selector", shown(job["selector"]), text))
    if job.get("manualSelector"):
        found.append(fields.unsupported(f"{path}.manualSelector", True, ("nil", "false")))
    check_counts(spec, "spec", found, "successfulJobsHistoryLimit", "failedJobsHistoryLimit")
    return found


def _check_zone(zone: str, found: list[Cause]) -> None:
    path = "spec.timeZone"
    if not zone:
        found.append(fields.invalid(path, zone, "timeZone must be nil or non-empty string"))
        return
    for part in zone.split("/"):
        if part in (".", "..") or part.startswith("-") or not _ZONE_PART.fullmatch(part):
            found.append(fields.invalid(path, zone, f"unknown time zone {zone}"))
            return
    if zone.lower() == "local":
        text = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        found.append(fields.invalid(path, zone, text))
    if zone == "Local":
        return
    try:
        zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        found.append(fields.invalid(path, zone, f"unknown time zone {zone}"))


def _validate_cron(obj: Object) -> list[Cause]:
    found = _cron_spec(obj.get("spec") or {}, None, TEMPLATE)
    name = at(obj, "metadata.name") or ""
    if len(name) > 52:
        found.append(fields.invalid("metadata.name", name, "must be no more than 52 characters"))
    return found


def _successful(obj: Object) -> str:
    return as_field(at(obj, "status.succeeded") or 0)


def rules() -> dict[GVK, Rules]:
    """The rules of the kinds in this module."""
    return {
        GVK("batch", "v1", "Job"): Rules(
            default=_default_job,
            on_create=_on_create,
            on_update=drop_from_template,
            prepare_status=default_labels,
            validate=_validate_job,
            check_update=_check_job_update,
            validate_status=validate_job_status,
            warn=template_warner(named=True),
            revalidates=True,
            has_status=True,
            has_generation=True,
            fields={"status.successful": _successful},
        ),
        GVK("batch", "v1", "CronJob"): Rules(
            default=_default_cron,
            on_create=_drop_from_cron,
            on_update=_drop_from_cron,
            validate=_validate_cron,
            check_update=lambda new, old: _cron_spec(
                new.get("spec") or {}, old.get("spec") or {}, template_options(old, _CRON_TEMPLATE)
            ),
            warn=template_warner("spec.jobTemplate.spec.template", named=True),
            has_status=True,
            has_generation=True,
        ),
    }
