"""What an autoscaler is told at start. Times in seconds; defaults are kube-controller-manager's."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AutoscalerConfig:
    """The flags `--horizontal-pod-autoscaler-...`."""

    sync_period: float = 15.0
    downscale_stabilization: float = 300.0
    tolerance: float = 0.1
    cpu_initialization: float = 300.0
    """For how long after its start a pod's processor time is looked at with distrust."""
    initial_readiness: float = 30.0
    """A pod that is unready since less than this after its start has never been ready."""
