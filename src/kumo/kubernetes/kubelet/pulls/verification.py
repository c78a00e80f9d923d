"""Who may use an image that is here already. Pure.

An image that the kubelet pulled with a pod's secret is given to pods that have that secret (or another with the same
content), to the others only after a pull of their own. Upstream: `pkg/kubelet/images/pullmanager`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from kumo.kubernetes.kubelet.pulls.credentials import PullSecret

NEVER, PRELOADED = "NeverVerify", "NeverVerifyPreloadedImages"
ALLOWLISTED, ALWAYS = "NeverVerifyAllowlistedImages", "AlwaysVerify"
_MOST_SECRETS = 100
"""Secrets of one image beyond which a look does not add another."""
_TAG = re.compile(r":[\w][\w.-]{0,127}$")

Policy = Callable[[str, bool], bool]
"""Whether credentials must be verified for an image (as the pod names it), which the kubelet has pulled or not."""


@dataclass(frozen=True, slots=True)
class Access:
    """Who may use an image under one name: all pods of the node, or those with one of the secrets."""

    everyone: bool = False
    secrets: tuple[PullSecret, ...] = ()
    accounts: tuple[tuple[str, str, str], ...] = ()
    """Service accounts (uid, namespace, name), written by a credential provider of upstream's kubelet."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the image must be pulled, why (upstream's label of its metric), and what to remember of the pod."""

    pull: bool
    result: str
    remember: PullSecret | None = None


def make_policy(name: str, allowlist: Iterable[str] = ()) -> Policy:
    """The policy of that name. Raises ValueError for an unknown one and for a bad pattern."""
    if name == NEVER:
        return lambda image, pulled: False
    if name == PRELOADED:
        return lambda image, pulled: pulled
    if name == ALWAYS:
        return lambda image, pulled: True
    if name != ALLOWLISTED:
        raise ValueError(f"unknown image pull credential verification policy: {name}")
    patterns = [parse_pattern(p) for p in allowlist]

    def required(image: str, pulled: bool) -> bool:
        bare = untagged(image)
        return not any(bare.startswith(text) if wild else bare == text for text, wild in patterns)

    return required


def parse_pattern(pattern: str) -> tuple[str, bool]:
    """The text of an allowlist's pattern, and whether it is a prefix (`host/path/*`). Raises ValueError."""
    if pattern != pattern.strip():
        raise ValueError(f"leading/trailing spaces are not allowed: {pattern}")
    wild = pattern.endswith("/*")
    text = pattern[:-1] if wild else pattern
    if not text:
        raise ValueError(f"the supplied pattern is too short: {pattern}")
    if "*" in text:
        raise ValueError(f"not a valid wildcard pattern, only patterns ending with '/*' are allowed: {pattern}")
    if wild and len(text) == 1:
        raise ValueError("at least registry hostname is required")
    if not wild and untagged(text) != text:
        raise ValueError(f"neither tag nor digest is accepted in an image reference: {pattern}")
    return text, wild


def untagged(image: str) -> str:
    """The image's name as the pod has it, without tag and digest."""
    return _TAG.sub("", image.partition("@")[0])


def judge(access: Access | None, secrets: Sequence[PullSecret]) -> Verdict:
    """Whether a pod with these secrets has to pull an image that `access` tells of (None: nothing is known)."""
    must = Verdict(True, "mustAuthenticate")
    if access is None:
        return must
    if access.everyone:
        return Verdict(False, "credentialRecordFound")
    room = len(access.secrets) < _MOST_SECRETS
    for mine in secrets:
        for known in access.secrets:
            same = bool(known.hash) and known.hash == mine.hash
            if same:
                return Verdict(False, "credentialRecordFound", mine if known.whose != mine.whose and room else None)
            if known.whose == mine.whose and room:
                return Verdict(False, "credentialRecordFound", mine)
    return must


def merged(old: Access | None, new: Access) -> Access:
    """What is known after a pull: once everyone may, everyone may."""
    if old is None:
        return new
    if old.everyone or new.everyone:
        return Access(everyone=True)
    secrets = {s.whose: s for s in (*old.secrets, *new.secrets)}
    return replace(old, secrets=tuple(secrets[whose] for whose in sorted(secrets)))
