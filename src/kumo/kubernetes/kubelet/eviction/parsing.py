"""Eviction thresholds as a KubeletConfiguration gives them, refused in upstream's words. Pure.

Source: `ParseThresholdConfig` in `pkg/kubelet/eviction/helpers.go`.
"""

from __future__ import annotations

from collections.abc import Mapping

from kumo.api import quantities
from kumo.api.durations import go_duration
from kumo.kubernetes.kubelet.eviction.thresholds import ALLOCATABLE, DEFAULT, MEMORY, SIGNALS, Threshold

Given = Mapping[str, str]


def hard_thresholds(given: Given | None, *, merge: bool) -> dict[str, str]:
    """`evictionHard` as it holds: upstream's when none is given, and (`merge`) beside what is given."""
    if given is None:
        return dict(DEFAULT)
    return {**DEFAULT, **given} if merge else dict(given)


def thresholds(
    hard: Given, soft: Given, grace: Given, reclaim: Given, *, of_pods: bool = True
) -> tuple[Threshold, ...]:
    """All thresholds; `of_pods`: those of memory hold for all pods together, too. Raises ValueError."""
    graces = {signal: _grace(signal, text) for signal, text in grace.items()}
    reclaims = {signal: _reclaim(signal, text) for signal, text in reclaim.items()}
    found = [Threshold(s, v, reclaim=reclaims.get(s, "")) for s, v in hard.items() if _wanted(s, v)]
    for signal, value in soft.items():
        if not _wanted(signal, value):
            continue
        if signal not in graces:
            raise ValueError(f"grace period must be specified for the soft eviction threshold {signal}")
        found.append(Threshold(signal, value, graces[signal], reclaims.get(signal, "")))
    if of_pods:
        found += [Threshold(ALLOCATABLE, t.value, 0.0, t.reclaim) for t in found if t.signal == MEMORY and not t.soft]
    return tuple(found)


def _known(signal: str) -> None:
    if signal not in SIGNALS:
        raise ValueError(f"unsupported eviction signal {signal}")


def _wanted(signal: str, value: str) -> bool:
    """Whether there is such a threshold: 0% and 100% switch one off. Raises ValueError."""
    _known(signal)
    if value.endswith("%"):
        if value in ("0%", "100%"):
            return False
        share = _share(value)
        if share < 0:
            raise ValueError(f"eviction percentage threshold {signal} must be >= 0%: {value}")
        if share > 100:
            raise ValueError(f"eviction percentage threshold {signal} must be <= 100%: {value}")
        return True
    if quantities.parse(value) <= 0:
        raise ValueError(f"eviction threshold {signal} must be positive: {quantities.canonical(value)}")
    return True


def _share(value: str) -> float:
    text = value.rstrip("%")
    try:
        return float(text)
    except ValueError:
        raise ValueError(f'strconv.ParseFloat: parsing "{text}": invalid syntax') from None


def _grace(signal: str, text: str) -> float:
    _known(signal)
    seconds = go_duration(text)
    if seconds < 0:
        raise ValueError(f"invalid eviction grace period specified: {text}, must be a positive value")
    return seconds


def _reclaim(signal: str, value: str) -> str:
    _known(signal)
    if value.endswith("%"):
        if _share(value) <= 0:
            raise ValueError(f"eviction percentage minimum reclaim {signal} must be positive: {value}")
    elif quantities.parse(value) < 0:
        raise ValueError(f"negative eviction minimum reclaim specified for {signal}")
    return value
