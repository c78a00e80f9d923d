"""What the scheduler counts and times, by upstream's names, for whoever asks for `/metrics`. No I/O.

Counting costs a few microseconds a pod; what the queue and the cache know themselves is read when somebody asks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

from kumo.machinery.exposition import Histogram, Sample, counts, family, histograms

_ATTEMPT = tuple(0.001 * 2**n for n in range(15))
_POINT = tuple(0.0001 * 2**n for n in range(12))
_SLI = tuple(0.01 * 2**n for n in range(20))
_TRIES = tuple(float(2**n) for n in range(5))
_VICTIMS = tuple(float(2**n) for n in range(7))
_MANY_TRIES = 15
SUCCESS, UNSCHEDULABLE, HOPELESS = "Success", "Unschedulable", "UnschedulableAndUnresolvable"
"""What an extension point came to, in upstream's words."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to schedule a pod: by which profile, when it began, the how-manieth it is, when the first one began."""

    profile: str
    began: float
    number: int
    first: float


@dataclass(frozen=True, slots=True)
class Now:
    """What is read when somebody asks: pods by where they wait, by plugin and profile, nodes and pods in the cache."""

    pending: Mapping[str, int]
    incoming: Mapping[tuple[str, str], int]
    """By queue and event: how many pods came into it."""
    refused: Mapping[tuple[str, str], int]
    cached: Mapping[str, int]


class Measures:
    """The scheduler's own figures. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        self.clock = clock
        self._attempts: dict[tuple[str, ...], Histogram] = {}
        """By result and profile."""
        self._points: dict[tuple[str, ...], Histogram] = {}
        """By extension point, status and profile."""
        self._slis: dict[tuple[str, ...], Histogram] = {}
        """By the number of attempts."""
        self._algorithm = Histogram(_ATTEMPT)
        self._tries = Histogram(_TRIES)
        self._victims = Histogram(_VICTIMS)
        self._preemptions = 0

    def ended(self, attempt: Attempt, result: str) -> None:
        """An attempt came to `scheduled`, `unschedulable` or `error`."""
        now = self.clock()
        _of(self._attempts, (result, attempt.profile), _ATTEMPT).observe(now - attempt.began)
        if result == "scheduled":
            self._tries.observe(attempt.number)
            tries = f"{_MANY_TRIES}+" if attempt.number >= _MANY_TRIES else str(attempt.number)
            _of(self._slis, (tries,), _SLI).observe(now - attempt.first)

    def decided(self, attempt: Attempt) -> None:
        """The algorithm is through with the pod, whatever it came to."""
        self._algorithm.observe(self.clock() - attempt.began)

    def point(self, profile: str, point: str, status: str, since: float) -> float:
        """An extension point that began at `since` is over; the time now."""
        now = self.clock()
        _of(self._points, (point, status, profile), _POINT).observe(now - since)
        return now

    def preempted(self, victims: int) -> None:
        """Somebody looked for room, and chose so many victims (0: found none)."""
        self._preemptions += 1
        if victims:
            self._victims.observe(victims)

    def lines(self, now: Now) -> list[str]:
        """All of it in the text format."""
        totals: list[Sample] = [(key, float(sum(h.counts))) for key, h in sorted(self._attempts.items())]
        return [
            *family("counter", "scheduler_schedule_attempts_total", _TEXTS[0], ("result", "profile"), totals),
            *histograms(
                "scheduler_scheduling_attempt_duration_seconds",
                _TEXTS[1],
                ("result", "profile"),
                _sorted(self._attempts),
            ),
            *histograms("scheduler_scheduling_algorithm_duration_seconds", _TEXTS[2], (), [((), self._algorithm)]),
            *histograms(
                "scheduler_framework_extension_point_duration_seconds",
                _TEXTS[3],
                ("extension_point", "status", "profile"),
                _sorted(self._points),
            ),
            *histograms(
                "scheduler_pod_scheduling_sli_duration_seconds",
                _TEXTS[4],
                ("attempts",),
                _sorted(self._slis),
            ),
            *histograms("scheduler_pod_scheduling_attempts", _TEXTS[5], (), [((), self._tries)]),
            *family("counter", "scheduler_preemption_attempts_total", _TEXTS[6], (), [((), float(self._preemptions))]),
            *histograms("scheduler_preemption_victims", _TEXTS[7], (), [((), self._victims)]),
            *_present(now),
        ]


def _present(now: Now) -> list[str]:
    incoming: list[Sample] = [(key, float(n)) for key, n in sorted(now.incoming.items())]
    refused: list[Sample] = [(key, float(n)) for key, n in sorted(now.refused.items())]
    return [
        *family("gauge", "scheduler_pending_pods", _TEXTS[8], ("queue",), counts(now.pending)),
        *family("counter", "scheduler_queue_incoming_pods_total", _TEXTS[9], ("queue", "event"), incoming),
        *family("gauge", "scheduler_unschedulable_pods", _TEXTS[10], ("plugin", "profile"), refused),
        *family("gauge", "scheduler_cache_size", _TEXTS[11], ("type",), counts(now.cached)),
    ]


def refusals(pods: Sequence[tuple[str, frozenset[str]]]) -> Mapping[tuple[str, str], int]:
    """How many pods each plugin refused, from each one's profile and plugins."""
    return Counter((plugin, profile) for profile, plugins in pods for plugin in plugins)


def _of(known: dict[tuple[str, ...], Histogram], key: tuple[str, ...], bounds: Sequence[float]) -> Histogram:
    found = known.get(key)
    if found is None:
        found = known[key] = Histogram(bounds)
    return found


def _sorted(known: Mapping[tuple[str, ...], Histogram]) -> list[tuple[tuple[str, ...], Histogram]]:
    return [(key, known[key]) for key in sorted(known)]


_TEXTS = (
    "[STABLE] Number of attempts to schedule pods, by the result. 'unschedulable' means a pod could not be scheduled, "
    "while 'error' means an internal scheduler problem.",
    "[STABLE] Scheduling attempt latency in seconds (scheduling algorithm + binding)",
    "[ALPHA] Scheduling algorithm latency in seconds",
    "[STABLE] Latency for running all plugins of a specific extension point.",
    "[BETA] E2e latency for a pod being scheduled, from the time the pod enters the scheduling queue and might involve "
    "multiple scheduling attempts.",
    "[STABLE] Number of attempts to successfully schedule a pod.",
    "[STABLE] Total preemption attempts in the cluster till now",
    "[STABLE] Number of selected preemption victims",
    "[STABLE] Number of pending pods, by the queue type. 'active' means number of pods in activeQ; 'backoff' means "
    "number of pods in backoffQ; 'unschedulable' means number of pods in unschedulablePods that the scheduler "
    "attempted to schedule and failed; 'gated' is the number of unschedulable pods that the scheduler never attempted "
    "to schedule because they are gated.",
    "[STABLE] Number of pods added to scheduling queues by event and queue type.",
    "[BETA] The number of unschedulable pods broken down by plugin name. A pod will increment the gauge for all "
    "plugins that caused it to not schedule and so this metric have meaning only when broken down by plugin.",
    "[ALPHA] Number of nodes, pods, and assumed (bound) pods in the scheduler cache.",
)
"""The help of each family, an interface fact as its name is."""
