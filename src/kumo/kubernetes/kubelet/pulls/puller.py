"""Pulls images: one or several at once, not more often than allowed, with one credential after the other.

Upstream: `pkg/kubelet/images/puller.go`, `pkg/kubelet/kuberuntime/kuberuntime_image.go`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kumo.host.containerd.cri import ImageService
from kumo.host.containerd.rpc import EngineError
from kumo.kubernetes.kubelet.pulls.credentials import Credential

_UNHEARD = ("UNAVAILABLE", "CANCELLED", "DEADLINE_EXCEEDED")
"""Codes of errors that say nothing of what containerd did."""


class PullFailed(Exception):
    """The image could not be pulled; the text is as upstream prints it. `doubtful`: it may be here all the same."""

    def __init__(self, text: str, *, doubtful: bool = False) -> None:
        super().__init__(text)
        self.doubtful = doubtful


@dataclass(frozen=True, slots=True)
class PullLimits:
    """How the kubelet pulls; the defaults are upstream's."""

    serialize: bool = True
    """One after the other; `parallel` counts only without it."""
    parallel: int = 0
    """At most so many at once, 0: any number."""
    per_second: float = 5.0
    """Pulls that may begin per second, 0: any number."""
    burst: int = 10


class TokenBucket:
    """Lets `rate` a second pass, `burst` at once."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._tokens, self._at = float(burst), clock()

    def take(self) -> bool:
        """Whether one more may pass now."""
        if self._rate <= 0:
            return True
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


@dataclass(frozen=True, slots=True)
class PulledImage:
    """What a pull gave: the image's id, the credentials that the registry took, seconds without the wait in line."""

    ref: str
    used: Credential | None
    seconds: float


class Puller:
    """All pulls of a kubelet go through one."""

    def __init__(self, service: ImageService, limits: PullLimits) -> None:
        self._service = service
        self._bucket = TokenBucket(limits.per_second, limits.burst)
        most = 1 if limits.serialize else limits.parallel
        self._line: contextlib.AbstractAsyncContextManager[None] | asyncio.Semaphore = (
            asyncio.Semaphore(most) if most > 0 else contextlib.nullcontext()
        )

    async def pull(
        self, name: str, credentials: Sequence[Credential], asking: Callable[[], None] = lambda: None
    ) -> PulledImage:
        """Wait in line and pull; `asking` is called when containerd is asked. Raises PullFailed."""
        async with self._line:
            if not self._bucket.take():
                raise PullFailed("pull QPS exceeded")
            began = time.monotonic()
            errors: list[EngineError] = []
            asking()
            tried: Sequence[Credential | None] = credentials or (None,)
            for credential in tried:
                try:
                    ref = await self._service.pull(name, credential.auth if credential is not None else None)
                except EngineError as error:
                    errors.append(error)
                else:
                    return PulledImage(ref, credential, time.monotonic() - began)
        raise PullFailed(aggregate([e.wire for e in errors]), doubtful=any(e.code in _UNHEARD for e in errors))


def aggregate(errors: Sequence[str]) -> str:
    """Several errors as Go's aggregate prints them: each once, in brackets when there are several."""
    once = list(dict.fromkeys(errors))
    return once[0] if len(once) == 1 else f"[{', '.join(once)}]"


def explained(image: str, error: str) -> tuple[str, str]:
    """The reason and the message of the waiting state for an error of a pull."""
    for prefix, words in (
        ("RegistryUnavailable", "the registry is unavailable"),
        ("SignatureValidationFailed", "the signature validation failed"),
    ):
        if error.startswith(prefix):
            return prefix, f"image pull failed for {image} because {words}{error.removeprefix(prefix)}"
    return "ErrImagePull", error
