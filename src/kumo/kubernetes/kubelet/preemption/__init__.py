"""Critical pods that come to a full node: others end for them. Upstream: `pkg/kubelet/preemption`.

`victims` chooses them, `preemptor` ends them.
"""
