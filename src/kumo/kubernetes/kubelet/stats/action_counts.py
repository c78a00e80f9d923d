"""Counts pods and containers as they are started, and what goes wrong with that."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from kumo.api.objects import Object
from kumo.kubernetes.kubelet.spec import Container
from kumo.kubernetes.kubelet.stats.meter import Meter

_KINDS = (("initContainers", "init_container"), ("ephemeralContainers", "ephemeral_container"))


class ActionCounts:
    """Each method is a block: what is raised within counts as an error."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    @contextlib.contextmanager
    def pod(self, pod: Object) -> Iterator[None]:
        """A pod gets its sandbox."""
        names = ["kubelet_started_pods"]
        if pod["spec"].get("hostUsers") is False:
            names.append("kubelet_started_user_namespaced_pods")
        for name in names:
            self._meter.count(f"{name}_total")
        try:
            yield
        except Exception:
            for name in names:
                self._meter.count(f"{name}_errors_total")
            raise

    @contextlib.contextmanager
    def sandbox(self, handler: str) -> Iterator[None]:
        """The runtime makes a sandbox with that handler."""
        began = time.monotonic()
        try:
            yield
        except Exception:
            self._meter.count("kubelet_run_podsandbox_errors_total", handler)
            raise
        finally:
            self._meter.observe("kubelet_run_podsandbox_duration_seconds", time.monotonic() - began, handler)

    @contextlib.contextmanager
    def cgroup(self, operation: str) -> Iterator[None]:
        """A control group is made (`create`), changed (`update`) or removed (`destroy`)."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._meter.observe("kubelet_cgroup_manager_duration_seconds", time.monotonic() - began, operation)

    def container(self, pod: Object, container: Container) -> None:
        """A container is being started."""
        self._meter.count("kubelet_started_containers_total", kind(pod, container))

    def container_failed(self, pod: Object, container: Container, reason: str) -> None:
        """It could not be started."""
        self._meter.count("kubelet_started_containers_errors_total", kind(pod, container), reason)


def kind(pod: Object, container: Container) -> str:
    """The label of a container: `container`, `init_container` or `ephemeral_container`. Pure."""
    for key, label in _KINDS:
        if any(c["name"] == container["name"] for c in pod["spec"].get(key) or ()):
            return label
    return "container"
