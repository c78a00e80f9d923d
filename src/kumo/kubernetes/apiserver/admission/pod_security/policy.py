"""Levels, versions, and the policy that a namespace's labels ask for. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from kumo.api.errors import Cause

PREFIX = "pod-security.kubernetes.io/"
LEVELS = ("privileged", "baseline", "restricted")
LATEST = 1 << 30
"""The minor version that stands for `latest`: newer than any."""
_VERSION = re.compile(r"v1\.(0|[1-9][0-9]*)")
_MODES = ("enforce", "audit", "warn")


class LevelVersion(NamedTuple):
    """A level, and the minor version of Kubernetes whose rules it means."""

    level: str = "privileged"
    minor: int = LATEST

    def __str__(self) -> str:
        return f"{self.level}:{'latest' if self.minor == LATEST else f'v1.{self.minor}'}"

    @property
    def strictness(self) -> int:
        """0 for privileged, 2 for restricted."""
        return LEVELS.index(self.level)

    def equivalent(self, other: LevelVersion) -> bool:
        """Whether both demand the same: all privileged ones do."""
        return self == other or self.level == other.level == "privileged"


class Policy(NamedTuple):
    """What a namespace demands in each mode."""

    enforce: LevelVersion = LevelVersion()
    audit: LevelVersion = LevelVersion()
    warn: LevelVersion = LevelVersion()

    @property
    def privileged(self) -> bool:
        """Whether it demands nothing at all."""
        return all(mode.level == "privileged" for mode in self)

    def equivalent(self, other: Policy) -> bool:
        """Whether both demand the same in each mode."""
        return all(mine.equivalent(theirs) for mine, theirs in zip(self, other, strict=True))


def parse_version(text: str) -> int:
    """The minor version. Raises ValueError."""
    if text == "latest":
        return LATEST
    found = _VERSION.fullmatch(text)
    if found is None or len(found[1]) > 9:
        raise ValueError('must be "latest" or "v1.x"')
    return int(found[1])


def parse_level(text: str) -> str:
    """The level. Raises ValueError."""
    if text not in LEVELS:
        raise ValueError(f"must be one of {', '.join(LEVELS)}")
    return text


def policy_of(labels: Mapping[str, str], defaults: Policy) -> tuple[Policy, tuple[Cause, ...]]:
    """The policy that the labels ask for, and what is wrong with them.

    A bad label is read as the strictest for `enforce` and as nothing for `audit` and `warn`, as upstream. A stricter
    `enforce` is the default of `warn`.
    """
    if not any(key.startswith(PREFIX) for key in labels):
        return defaults, ()
    found: dict[str, LevelVersion] = {}
    faults: list[Cause] = []
    for mode, default in zip(_MODES, defaults, strict=True):
        level, minor = default
        stated = labels.get(PREFIX + mode)
        if stated is not None:
            try:
                level = parse_level(stated)
            except ValueError as error:
                level = "restricted" if mode == "enforce" else "privileged"
                faults.append(_fault(mode, stated, error))
        version = labels.get(f"{PREFIX}{mode}-version")
        if version is not None:
            try:
                minor = parse_version(version)
            except ValueError as error:
                minor = LATEST
                faults.append(_fault(f"{mode}-version", version, error))
        found[mode] = LevelVersion(level, minor)
    if labels.get(f"{PREFIX}enforce") in LEVELS and f"{PREFIX}warn" not in labels:
        enforce, warn = found["enforce"], found["warn"]
        if enforce.strictness > warn.strictness:
            found["warn"] = LevelVersion(
                enforce.level, warn.minor if f"{PREFIX}warn-version" in labels else enforce.minor
            )
    return Policy(**found), tuple(faults)


def _fault(label: str, value: str, error: ValueError) -> Cause:
    return Cause(f"metadata.labels[{PREFIX}{label}]", f'Invalid value: "{value}": {error}')
