"""Which kernel settings a pod may have set in its namespaces. Pure. Upstream: `pkg/kubelet/sysctl`."""

from __future__ import annotations

import fnmatch

from kumo.api.objects import Object
from kumo.kubernetes.kubelet.spec import host_network, pod_security

SAFE = (
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
)
"""Those that touch nobody but the pod."""


def normal_name(name: str) -> str:
    """The name with dots between its parts; `/` may stand for them (sysctl.d(5))."""
    slash, dot = name.find("/"), name.find(".")
    if slash < 0 or (0 <= dot < slash):
        return name
    return name.translate(str.maketrans("/.", "./"))


def forbidden(pod: Object, allowed: tuple[str, ...] = SAFE) -> str:
    """Why the pod may not have one of its settings, empty if it may have them all; `allowed` are names or globs."""
    for entry in pod_security(pod).get("sysctls") or ():
        name = normal_name(entry["name"])
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in allowed):
            return f'forbidden sysctl: "{name}" not allowlisted'
        if name.startswith("net.") and host_network(pod):
            return f'forbidden sysctl: "{name}" not allowed with host net enabled'
        if name.startswith(("kernel.", "fs.mqueue.")) and pod["spec"].get("hostIPC"):
            return f'forbidden sysctl: "{name}" not allowed with host ipc enabled'
    return ""
