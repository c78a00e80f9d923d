"""Eviction: pods that end so that the node goes on, or since they use more disk than they may.

`thresholds` and `ranking` decide, `signals` reads the machine, `manager` does it. Upstream: `pkg/kubelet/eviction`.
"""
