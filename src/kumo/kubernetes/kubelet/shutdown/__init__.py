"""Graceful node shutdown: the machine waits until its pods have ended in their order.

`periods` decides who has how long, `logind` speaks to systemd-logind over D-Bus, `manager` does it. Upstream:
`pkg/kubelet/nodeshutdown`.
"""
