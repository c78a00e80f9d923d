"""What is wrong with the spec of a job, or of a cron job's template: in upstream's order and words."""

from __future__ import annotations

import re
from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.kubernetes.apiserver.kinds.pod import Options, validate_template
from kumo.kubernetes.apiserver.kinds.workload_checks import check_counts

_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
_STATUSES = ("False", "True", "Unknown")
_MODES = ("NonIndexed", "Indexed")
_MOST_INDEXED, _MANY, _MOST_OF_MANY = 100_000, 100_000, 10_000
_MOST_RULES, _MOST_CODES = 20, 255
_COUNTS = ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished")
_PATH_CHARACTERS = re.compile(r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+")


def unvalued(field: str, detail: str) -> Cause:
    """An invalid value that the message does not show."""
    return Cause(field=field, reason="FieldValueInvalid", message=f"Invalid value: {detail}")


def check_job_spec(path: str, spec: dict[str, Any], options: Options) -> list[Cause]:
    """What is wrong with a job's spec, apart from its selector."""
    found: list[Cause] = []
    check_counts(spec, path, found, *_COUNTS, "backoffLimitPerIndex", "maxFailedIndexes")
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        found.append(fields.required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified"))
    if spec.get("managedBy") is not None:
        found += _check_manager(f"{path}.managedBy", spec["managedBy"])
    mode = spec.get("completionMode")
    if mode is not None and mode not in _MODES:
        found.append(fields.unsupported(f"{path}.completionMode", mode, _MODES))
    if mode == "Indexed":
        _check_indexed(path, spec, found)
    elif mode in (None, "NonIndexed"):
        for key in ("backoffLimitPerIndex", "maxFailedIndexes"):
            if spec.get(key) is not None:
                found.append(fields.invalid(f"{path}.{key}", spec[key], "requires indexed completion mode"))
    if spec.get("podFailurePolicy") is not None:
        _check_failures(f"{path}.podFailurePolicy.rules", spec, found)
    if spec.get("successPolicy") is not None:
        _check_success(f"{path}.successPolicy", spec, found)
    _check_replacement(f"{path}.podReplacementPolicy", spec, found)
    found += validate_template(f"{path}.template", spec.get("template") or {}, options)
    policy, where = _restart_policy(spec), f"{path}.template.spec.restartPolicy"
    if policy in ("", "Always"):
        found.append(fields.required(where, 'valid values: "OnFailure", "Never"'))
    elif policy not in ("OnFailure", "Never"):
        found.append(fields.unsupported(where, policy, ("OnFailure", "Never")))
    elif spec.get("podFailurePolicy") is not None and policy != "Never":
        found.append(fields.invalid(where, policy, 'only "Never" is supported when podFailurePolicy is specified'))
    return found


def _restart_policy(spec: dict[str, Any]) -> str:
    return ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy") or ""


def _check_manager(path: str, name: str) -> list[Cause]:
    found: list[Cause] = []
    domain, slash, rest = name.partition("/")
    if not name:
        found.append(fields.required(path))
    elif not slash or not domain or not rest:
        found.append(fields.invalid(path, name, 'must be a domain-prefixed path (such as "acme.io/foo")'))
    else:
        found += fields.each(path, domain, names.check_subdomain(domain))
        if not _PATH_CHARACTERS.fullmatch(rest):
            pattern = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"
            found.append(fields.invalid(path, rest, names.regex_error("Invalid path", pattern)))
    if len(name.encode()) > 63:
        found.append(fields.too_long(path, 63))
    return found


def _check_indexed(path: str, spec: dict[str, Any], found: list[Cause]) -> None:
    completions, parallelism, failures = (spec.get(k) for k in ("completions", "parallelism", "maxFailedIndexes"))
    if completions is None:
        found.append(fields.required(f"{path}.completions", "when completion mode is Indexed"))
    if parallelism is not None and parallelism > _MOST_INDEXED:
        text = f"must be less than or equal to {_MOST_INDEXED} when completion mode is Indexed"
        found.append(fields.invalid(f"{path}.parallelism", parallelism, text))
    if completions is not None and failures is not None and failures > completions:
        found.append(fields.invalid(f"{path}.maxFailedIndexes", failures, "must be less than or equal to completions"))
    if failures is not None and failures > _MOST_INDEXED:
        text = f"must be less than or equal to {_MOST_INDEXED}"
        found.append(fields.invalid(f"{path}.maxFailedIndexes", failures, text))
    if completions is None or completions <= _MANY or spec.get("backoffLimitPerIndex") is None:
        return
    if failures is None:
        text = f"must be specified when completions is above {_MANY}"
        found.append(fields.required(f"{path}.maxFailedIndexes", text))
    text = (
        f"must be less than or equal to {_MOST_OF_MANY} when completions are above {_MANY} and used with backoff limit "
        "per index"
    )
    for key, value in (("parallelism", parallelism), ("maxFailedIndexes", failures)):
        if value is not None and value > _MOST_OF_MANY:
            found.append(fields.invalid(f"{path}.{key}", value, text))


def _check_replacement(path: str, spec: dict[str, Any], found: list[Cause]) -> None:
    policy = spec.get("podReplacementPolicy")
    allowed = ("Failed",) if spec.get("podFailurePolicy") is not None else ("Failed", "TerminatingOrFailed")
    if policy is not None and policy not in allowed:
        found.append(fields.unsupported(path, policy, allowed))


# -- what failures mean -----------------------------------------------------------------------------------------------


def _check_failures(path: str, spec: dict[str, Any], found: list[Cause]) -> None:
    rules = spec["podFailurePolicy"].get("rules") or ()
    if len(rules) > _MOST_RULES:
        found.append(fields.too_many(path, len(rules), _MOST_RULES))
    pod = (spec.get("template") or {}).get("spec") or {}
    containers = {c.get("name") or "" for key in ("containers", "initContainers") for c in pod.get(key) or ()}
    for index, rule in enumerate(rules):
        here, action = f"{path}[{index}]", rule.get("action") or ""
        if not action:
            found.append(fields.required(f"{here}.action", f"valid values: {_quoted(_ACTIONS)}"))
        elif action not in _ACTIONS:
            found.append(fields.unsupported(f"{here}.action", action, _ACTIONS))
        elif action == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
            text = "requires the backoffLimitPerIndex to be set"
            found.append(fields.invalid(f"{here}.action", action, text))
        codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions")
        if codes is not None:
            _check_codes(f"{here}.onExitCodes", codes, containers, found)
        if conditions:
            _check_conditions(f"{here}.onPodConditions", conditions, found)
        if codes is not None and conditions:
            found.append(unvalued(here, "specifying both OnExitCodes and OnPodConditions is not supported"))
        if codes is None and not conditions:
            found.append(unvalued(here, "specifying one of OnExitCodes and OnPodConditions is required"))


def _quoted(values: tuple[str, ...]) -> str:
    return "[" + " ".join(f'"{value}"' for value in values) + "]"


def _check_conditions(path: str, conditions: list[dict[str, Any]], found: list[Cause]) -> None:
    if len(conditions) > _MOST_RULES:
        found.append(fields.too_many(path, len(conditions), _MOST_RULES))
    for index, condition in enumerate(conditions):
        here, kind, status = f"{path}[{index}]", condition.get("type") or "", condition.get("status") or ""
        found += fields.each(f"{here}.type", kind, names.check_qualified_name(kind))
        if not status:
            found.append(fields.required(f"{here}.status", f"valid values: {_quoted(_STATUSES)}"))
        elif status not in _STATUSES:
            found.append(fields.unsupported(f"{here}.status", status, _STATUSES))


def _check_codes(path: str, codes: dict[str, Any], containers: set[str], found: list[Cause]) -> None:
    operator, values, name = codes.get("operator") or "", codes.get("values") or [], codes.get("containerName")
    if not operator:
        found.append(fields.required(f"{path}.operator", f"valid values: {_quoted(('In', 'NotIn'))}"))
    elif operator not in ("In", "NotIn"):
        found.append(fields.unsupported(f"{path}.operator", operator, ("In", "NotIn")))
    if name is not None and name not in containers:
        text = "must be one of the container or initContainer names in the pod template"
        found.append(fields.invalid(f"{path}.containerName", name, text))
    if not values:
        found.append(fields.invalid(f"{path}.values", codes.get("values"), "at least one value is required"))
    elif len(values) > _MOST_CODES:
        found.append(fields.too_many(f"{path}.values", len(values), _MOST_CODES))
    seen: set[int] = set()
    for index, value in enumerate(values):
        if operator == "In" and value == 0:
            found.append(fields.invalid(f"{path}.values[{index}]", value, "must not be 0 for the In operator"))
        if value in seen:
            found.append(fields.duplicate(f"{path}.values[{index}]", value))
        seen.add(value)
    if values != sorted(values):
        found.append(fields.invalid(f"{path}.values", values, "must be ordered"))


# -- what success means -----------------------------------------------------------------------------------------------


def _check_success(path: str, spec: dict[str, Any], found: list[Cause]) -> None:
    rules = spec["successPolicy"].get("rules")
    if spec.get("completionMode") != "Indexed":
        internal = [
            {"SucceededIndexes": rule.get("succeededIndexes"), "SucceededCount": rule.get("succeededCount")}
            for rule in rules or ()
        ]
        text = "requires indexed completion mode"
        found.append(fields.invalid(path, {"Rules": internal if rules is not None else None}, text))
        return
    if not rules:
        text = "at least one rules must be specified when the successPolicy is specified"
        found.append(fields.required(f"{path}.rules", text))
    if len(rules or ()) > _MOST_RULES:
        found.append(fields.too_many(f"{path}.rules", len(rules), _MOST_RULES))
    completions = spec.get("completions") or 0
    for index, rule in enumerate(rules or ()):
        here, count, indexes = f"{path}.rules[{index}]", rule.get("succeededCount"), rule.get("succeededIndexes")
        if count is None and indexes is None:
            text = "at least one of succeededCount or succeededIndexes must be specified"
            found.append(fields.required(here, text))
        total = 0
        if indexes is not None:
            if len(indexes) > 64 << 10:
                found.append(fields.too_long(f"{here}.succeededIndexes", 64 << 10))
            try:
                total = count_indexes(indexes, completions)
            except ValueError as e:
                text = f"error parsing succeededIndexes: {e}"
                found.append(fields.invalid(f"{here}.succeededIndexes", indexes, text))
        if count is None:
            continue
        check_counts(rule, here, found, "succeededCount")
        for most, what in (
            (completions, "specified completions"),
            (total if indexes is not None else count, "indexes in the specified succeededIndexes field"),
        ):
            if count > most:
                text = f"must be less than or equal to {most} (the number of {what})"
                found.append(fields.invalid(f"{here}.succeededCount", count, text))


def count_indexes(text: str, completions: int) -> int:
    """How many indexes `1,3-5` names. Raises ValueError, in upstream's words, for text that is none or too great."""
    total, last = 0, None
    for interval in text.split(",") if text else ():
        first, end = index_range(interval, completions)
        if last is not None and last >= first:
            raise ValueError(f"non-increasing order, previous: {last}, current: {first}")
        total += end - first + 1
        last = end
    return total


def index_range(interval: str, completions: int) -> tuple[int, int]:
    """The first and the last index of `3-5` or `7`. Raises ValueError, in upstream's words."""
    limits = interval.split("-")
    if len(limits) > 2:
        raise ValueError(
            f'the fragment "{interval}" violates the requirement that an index interval can have at most two parts '
            "separated by '-'"
        )
    numbers = []
    for limit in limits:
        if not re.fullmatch(r"[+]?[0-9]{1,18}", limit, re.ASCII):
            raise ValueError(f'cannot convert string to integer for index: "{limit}"')
        if int(limit) >= completions:
            raise ValueError(f'too large index: "{limit}"')
        numbers.append(int(limit))
    if len(numbers) == 2 and numbers[0] >= numbers[1]:
        raise ValueError(f"non-increasing order, previous: {numbers[0]}, current: {numbers[1]}")
    return numbers[0], numbers[-1]
