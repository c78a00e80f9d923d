"""When the change happened that endpoints are written for: an annotation by which proxies tell how late they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from kumo.api import conditions
from kumo.api.objects import Key, Object, annotations_of, key_of, name_of

ANNOTATION = "endpoints.kubernetes.io/last-change-trigger-time"


@dataclass(slots=True)
class _Seen:
    service: str = ""
    pods: dict[str, str] = field(default_factory=dict)


class Triggers:
    """What was known of services and their pods when they were looked at last."""

    def __init__(self) -> None:
        self._seen: dict[Key, _Seen] = {}

    def last(self, service: Object, pods: Iterable[Object]) -> str:
        """The earliest change since the last look (a `metav1.Time`), empty if there was none.

        A service itself changes when it is created, a pod when it becomes ready or unready.
        """
        known = self._seen.get(key_of(service))
        before = known or _Seen()
        now = _Seen(str(service["metadata"].get("creationTimestamp") or ""))
        changed = [now.service] if now.service > before.service else []
        for pod in pods:
            moment = (conditions.condition(pod, "Ready") or {}).get("lastTransitionTime")
            if moment:
                now.pods[name_of(pod)] = moment
                if moment > before.pods.get(name_of(pod), ""):
                    changed.append(moment)
        self._seen[key_of(service)] = now
        return now.service if known is None else min(changed, default="")

    def forget(self, key: Key) -> None:
        """The service is gone."""
        self._seen.pop(key, None)


def note(obj: Object, moment: str) -> None:
    """Write the annotation, in place; without a moment there is none."""
    annotations = {k: v for k, v in annotations_of(obj).items() if k != ANNOTATION}
    if moment:
        annotations[ANNOTATION] = moment
    if annotations:
        obj["metadata"]["annotations"] = annotations
    else:
        obj["metadata"].pop("annotations", None)
