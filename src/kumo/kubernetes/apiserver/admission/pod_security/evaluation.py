"""Runs the checks of a level and version over a pod. Pure."""

from __future__ import annotations

from functools import lru_cache

from kumo.api.objects import Object
from kumo.kubernetes.apiserver.admission.pod_security.baseline import BASELINE
from kumo.kubernetes.apiserver.admission.pod_security.findings import Check, Finding, Pick
from kumo.kubernetes.apiserver.admission.pod_security.policy import LevelVersion
from kumo.kubernetes.apiserver.admission.pod_security.restricted import RESTRICTED

_NEWEST = max(pick.minor for table in (BASELINE, RESTRICTED) for picks in table.values() for pick in picks)


def evaluate(wanted: LevelVersion, meta: Object, spec: Object) -> tuple[Finding, ...]:
    """Everything that the level does not allow, baseline checks first, each group in order of names."""
    found = (check(meta, spec) for check in checks(wanted.level, min(wanted.minor, _NEWEST)))
    return tuple(finding for finding in found if finding is not None)


@lru_cache(maxsize=256)
def checks(level: str, minor: int) -> tuple[Check, ...]:
    """The checks of a level, as they were in a minor version."""
    if level == "privileged":
        return ()
    baseline = _at(BASELINE, minor)
    if level == "baseline":
        return tuple(pick.check for pick in baseline.values())
    restricted = _at(RESTRICTED, minor)
    covered = {name for pick in restricted.values() for name in pick.instead_of}
    kept = [pick.check for name, pick in baseline.items() if name not in covered]
    return (*kept, *(pick.check for pick in restricted.values()))


def _at(table: dict[str, tuple[Pick, ...]], minor: int) -> dict[str, Pick]:
    found = {}
    for name in sorted(table):
        picks = [pick for pick in table[name] if pick.minor <= minor]
        if picks:
            found[name] = picks[-1]
    return found


def described(findings: tuple[Finding, ...]) -> str:
    """The findings with their details, as a refusal of one pod names them."""
    return ", ".join(str(finding) for finding in findings)


def reasons(findings: tuple[Finding, ...]) -> str:
    """The findings without details, as a warning about many pods names them."""
    return ", ".join(finding.reason for finding in findings)
