"""Which kernel settings a pod may have set in its namespaces. Pure. Upstream: `pkg/kubelet/sysctl`."""

from __future__ import annotations

import re
from collections.abc import Iterable

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
_IPC, _NET = "IPC", "Net"
_OF_IPC = frozenset(
    (
        "kernel.sem",
        *(f"kernel.shm{name}" for name in ("all", "max", "mni", "_rmid_forced", "")),
        *(f"kernel.msg{name}" for name in ("max", "mnb", "mni", "")),
    )
)
_LONGEST = 253
_PATTERN = r"([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*([a-z0-9][-_a-z0-9]*)?[a-z0-9*]"


def normal_name(name: str) -> str:
    """The name with dots between its parts; `/` may stand for them (sysctl.d(5))."""
    slash, dot = name.find("/"), name.find(".")
    if slash < 0 or (0 <= dot < slash):
        return name
    return name.translate(str.maketrans("/.", "./"))


def namespace_of(name: str) -> str:
    """Whose setting it is: the namespace of interprocess communication or of the network; empty for nobody's."""
    if name in _OF_IPC or name.startswith("fs.mqueue."):
        return _IPC
    return _NET if name.startswith("net.") else ""


class Allowlist:
    """The safe settings and those that the node's administrator allows, by name or with `*` at the end.

    Raises ValueError for a pattern that can't be, or that is about settings of no namespace.
    """

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self._names: dict[str, str] = {}
        self._prefixes: dict[str, str] = {}
        for pattern in (*SAFE, *patterns):
            if len(pattern) > _LONGEST or not re.fullmatch(_PATTERN, pattern):
                raise ValueError(
                    f'sysctl "{pattern}" must have at most {_LONGEST} characters and match regex {_PATTERN}'
                )
            name, star, _ = normal_name(pattern).partition("*")
            namespace = namespace_of(name)
            if not namespace:
                raise ValueError(f'the sysctls "{name}" are not known to be namespaced')
            (self._prefixes if star else self._names)[name] = namespace

    def forbidden(self, pod: Object) -> str:
        """Why the pod may not have one of its settings, empty if it may have them all."""
        for entry in pod_security(pod).get("sysctls") or ():
            name = normal_name(entry["name"])
            namespace = self._find(name)
            if not namespace:
                return f'forbidden sysctl: "{name}" not allowlisted'
            if (namespace == _NET and host_network(pod)) or (namespace == _IPC and pod["spec"].get("hostIPC")):
                return f'forbidden sysctl: "{name}" not allowed with host {namespace} enabled'
        return ""

    def _find(self, name: str) -> str:
        """The namespace of an allowed setting, empty for one that is not allowed."""
        if name in self._names:
            return self._names[name]
        return next((space for prefix, space in self._prefixes.items() if name.startswith(prefix)), "")
