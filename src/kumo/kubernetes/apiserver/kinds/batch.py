"""Jobs and cron jobs."""

from __future__ import annotations

import copy
import re
from typing import Any

from kumo.api import fields
from kumo.api.errors import Cause
from kumo.api.objects import Object, metadata, new_uid
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds.checks import choice, not_negative, set_default, spec_of, unchanged
from kumo.kubernetes.apiserver.kinds.pod import validate_template
from kumo.kubernetes.apiserver.kinds.rules import Rules, as_field, at
from kumo.kubernetes.apiserver.kinds.selector_validation import validate_label_selector
from kumo.kubernetes.apiserver.kinds.workload_checks import default_template

_UID = ("controller-uid", "batch.kubernetes.io/controller-uid")
_NAME = ("job-name", "batch.kubernetes.io/job-name")
_MACRO = re.compile(r"@(yearly|annually|monthly|weekly|daily|midnight|hourly|every .+)")
_CRON_FIELDS = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")),
    ("day of week", 0, 6, ("sun", "mon", "tue", "wed", "thu", "fri", "sat")),
)


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
        manualSelector=spec.get("manualSelector") or False,
        podReplacementPolicy="Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed",
    )
    labels = at(spec, "template.metadata.labels")
    if labels and not at(obj, "metadata.labels"):
        metadata(obj)["labels"] = dict(labels)
    default_template(spec)


def _on_create(obj: Object) -> None:
    """A job selects its pods by its own uid, unless it says that it selects them itself."""
    spec, meta = spec_of(obj), metadata(obj)
    obj["status"] = {}
    if spec.get("manualSelector"):
        return
    uid = meta.get("uid") or ""
    if not uid:
        uid = meta["uid"] = new_uid()
    template = spec.setdefault("template", {}).setdefault("metadata", {})
    labels = template["labels"] = dict(template.get("labels") or {})
    labels |= dict.fromkeys(_UID, uid) | {key: meta.get("name") or "" for key in _NAME}
    spec["selector"] = {"matchLabels": {_UID[1]: uid}}
    if not meta.get("labels"):
        meta["labels"] = dict(labels)


def _validate_spec(path: str, spec: dict[str, Any]) -> list[Cause]:
    found = not_negative(
        spec,
        path,
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    )
    mode = spec.get("completionMode")
    found += choice(f"{path}.completionMode", mode, ("NonIndexed", "Indexed"), needed=False)
    if mode == "Indexed" and spec.get("completions") is None:
        found.append(fields.required(f"{path}.completions", "when completion mode is Indexed"))
    found += validate_template(f"{path}.template", spec.get("template"))
    if at(spec, "template.spec.restartPolicy") not in ("OnFailure", "Never"):
        detail = 'valid values: "OnFailure", "Never"'
        found.append(fields.required(f"{path}.template.spec.restartPolicy", detail))
    return found


def _validate_job(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    found = _validate_spec("spec", spec)
    if spec.get("selector") is None:
        found.append(fields.required("spec.selector"))
    else:
        found += validate_label_selector("spec.selector", spec["selector"])
    return found


def _validate_job_update(new: Object, old: Object) -> list[Cause]:
    found = unchanged(new, old, "spec.selector", "spec.completionMode", "spec.podFailurePolicy", "spec.successPolicy")
    if at(new, "spec.completions") != at(old, "spec.completions"):
        indexed = at(new, "spec.completionMode") == "Indexed"
        if not indexed or at(new, "spec.completions") != at(new, "spec.parallelism"):
            found.append(fields.immutable("spec.completions", at(new, "spec.completions")))
    if _fixed_template(new, old) != (at(old, "spec.template") or {}):
        found.append(fields.immutable("spec.template", at(new, "spec.template")))
    return found


def _fixed_template(new: Object, old: Object) -> dict[str, Any]:
    """The template; a suspended job that never ran may change where its pods go."""
    template: dict[str, Any] = copy.deepcopy(at(new, "spec.template") or {})
    if at(old, "spec.suspend") and at(old, "status.startTime") is None:
        theirs = at(old, "spec.template.spec") or {}
        spec = template.setdefault("spec", {})
        for key in ("nodeSelector", "affinity", "tolerations", "schedulingGates"):
            spec.pop(key, None)
            if key in theirs:
                spec[key] = theirs[key]
        for key in ("labels", "annotations"):
            value = at(old, f"spec.template.metadata.{key}")
            template.setdefault("metadata", {}).pop(key, None)
            if value is not None:
                template["metadata"][key] = value
    return template


def _default_cron(obj: Object) -> None:
    spec = spec_of(obj)
    if not spec.get("concurrencyPolicy"):
        spec["concurrencyPolicy"] = "Allow"
    set_default(spec, suspend=False, successfulJobsHistoryLimit=3, failedJobsHistoryLimit=1)
    job = at(spec, "jobTemplate.spec")
    if job is not None:
        default_template(job)


def _validate_cron(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    found: list[Cause] = []
    name = at(obj, "metadata.name") or ""
    if len(name) > 52:
        found.append(fields.invalid("metadata.name", name, "must be no more than 52 characters"))
    schedule = spec.get("schedule") or ""
    if not schedule:
        found.append(fields.required("spec.schedule"))
    elif wrong := check_schedule(schedule):
        found.append(fields.invalid("spec.schedule", schedule, wrong))
    found += not_negative(
        spec, "spec", "startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"
    )
    allowed = ("Allow", "Forbid", "Replace")
    found += choice("spec.concurrencyPolicy", spec.get("concurrencyPolicy"), allowed)
    return found + _validate_spec("spec.jobTemplate.spec", at(spec, "jobTemplate.spec") or {})


def check_schedule(text: str) -> str:
    """What is wrong with a cron schedule, in the words of upstream's parser; empty if it is good."""
    if text.startswith("@"):
        return "" if _MACRO.fullmatch(text) else f"unrecognized descriptor: {text}"
    if text.startswith(("TZ=", "CRON_TZ=")):
        return "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
    parts = text.split()
    if len(parts) != 5:
        return f"expected exactly 5 fields, found {len(parts)}: [{' '.join(parts)}]"
    for part, (_, low, high, words) in zip(parts, _CRON_FIELDS):
        for item in part.split(","):
            if wrong := _cron_item(item, low, high, words):
                return wrong
    return ""


def _cron_item(item: str, low: int, high: int, words: tuple[str, ...]) -> str:
    span, slash, step = item.partition("/")
    if slash and (not step.isdigit() or int(step) == 0):
        return (
            f"failed to parse int from {step}"
            if not step.isdigit()
            else f"step of range should be a positive number: {item}"
        )
    if span in ("*", "?"):
        return ""
    first, _, last = span.partition("-")
    numbers = []
    for text in (first, last or first):
        if text.lower() in words:
            numbers.append(words.index(text.lower()) + low)
        elif text.isdigit():
            numbers.append(int(text))
        else:
            return f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax'
    if numbers[0] < low:
        return f"beginning of range ({numbers[0]}) below minimum ({low}): {item}"
    if numbers[1] > high:
        return f"end of range ({numbers[1]}) above maximum ({high}): {item}"
    if numbers[0] > numbers[1]:
        return f"beginning of range ({numbers[0]}) beyond end of range ({numbers[1]}): {item}"
    return ""


def _successful(obj: Object) -> str:
    return as_field(at(obj, "status.succeeded") or 0)


def rules() -> dict[GVK, Rules]:
    """The rules of the kinds in this module."""
    return {
        GVK("batch", "v1", "Job"): Rules(
            default=_default_job,
            on_create=_on_create,
            validate=_validate_job,
            validate_update=_validate_job_update,
            has_status=True,
            has_generation=True,
            fields={"status.successful": _successful},
        ),
        GVK("batch", "v1", "CronJob"): Rules(
            default=_default_cron, validate=_validate_cron, has_status=True, has_generation=True
        ),
    }
