"""The checks of the level `baseline`: known privilege escalations are not allowed. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from kumo.api.objects import Object
from kumo.kubernetes.apiserver.admission.pod_security.findings import (
    Check,
    Finding,
    Pick,
    containers,
    each_context,
    named,
    plural,
    quoted,
    security,
    setters,
    unless_own_users,
    values_at,
)

_CAPABILITIES = frozenset(
    (
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    )
)
_APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/"
_SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"
_PROFILES = ("RuntimeDefault", "Localhost")
_SELINUX = frozenset(("", "container_t", "container_init_t", "container_kvm_t"))
_SYSCTLS = frozenset(
    (
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_unprivileged_port_start",
    )
)
_SYSCTLS_27 = _SYSCTLS | {"net.ipv4.ip_local_reserved_ports"}
_SYSCTLS_29 = _SYSCTLS_27 | {
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
}
_SYSCTLS_32 = _SYSCTLS_29 | {"net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"}


def _app_armor(meta: Object, spec: Object) -> Finding | None:
    def bad(context: Object) -> bool:
        profile = context.get("appArmorProfile")
        return profile is not None and profile.get("type") not in _PROFILES

    who = setters(spec, bad)
    values = sorted({str(c["appArmorProfile"].get("type") or "") for c in each_context(spec) if bad(c)})
    annotations: Mapping[str, str] = meta.get("annotations") or {}
    wrong = sorted(
        f'{key}="{value}"'
        for key, value in annotations.items()
        if key.startswith(_APP_ARMOR) and value not in ("", "runtime/default") and not value.startswith("localhost/")
    )
    if wrong:
        who.append(plural("annotation", len(wrong)))
        values += wrong
    if not who:
        return None
    reason = plural("forbidden AppArmor profile", len(values))
    return Finding(reason, f"{' and '.join(who)} must not set AppArmor profile type to {quoted(values)}")


def _capabilities(meta: Object, spec: Object) -> Finding | None:
    names, wrong = [], set()
    for container in containers(spec):
        more = set((security(container).get("capabilities") or {}).get("add") or ()) - _CAPABILITIES
        if more:
            names.append(container.get("name", ""))
            wrong |= more
    if not names:
        return None
    what = f"{named('container', names)} must not include {quoted(sorted(wrong))} in securityContext.capabilities.add"
    return Finding("non-default capabilities", what)


def _host_namespaces(meta: Object, spec: Object) -> Finding | None:
    found = [f"{key}=true" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    return Finding("host namespaces", ", ".join(found)) if found else None


def _host_path(meta: Object, spec: Object) -> Finding | None:
    found = [volume.get("name", "") for volume in spec.get("volumes") or () if volume.get("hostPath") is not None]
    return Finding("hostPath volumes", named("volume", found)) if found else None


def _host_ports(meta: Object, spec: Object) -> Finding | None:
    names, ports = [], set()
    for container in containers(spec):
        used = {str(port["hostPort"]) for port in container.get("ports") or () if port.get("hostPort")}
        if used:
            names.append(container.get("name", ""))
            ports |= used
    if not names:
        return None
    verb = "uses" if len(names) == 1 else "use"
    detail = f"{named('container', names)} {verb} {plural('hostPort', len(ports))} {', '.join(sorted(ports))}"
    return Finding("hostPort", detail)


def _host_probes(meta: Object, spec: Object) -> Finding | None:
    names, hosts = set(), set()
    for container in containers(spec):
        cycle = container.get("lifecycle") or {}
        handlers = [container.get(key) or {} for key in ("livenessProbe", "readinessProbe", "startupProbe")]
        handlers += [cycle.get(key) or {} for key in ("postStart", "preStop")]
        used = values_at(handlers, "httpGet", "host") | values_at(handlers, "tcpSocket", "host")
        used.discard("")
        if used:
            names.add(container.get("name", ""))
            hosts |= used
    if not names:
        return None
    verb = "uses" if len(names) == 1 else "use"
    which = plural("probe or lifecycle host", len(hosts))
    return Finding(
        "probe or lifecycle host", f"{named('container', sorted(names))} {verb} {which} {quoted(sorted(hosts))}"
    )


def _privileged(meta: Object, spec: Object) -> Finding | None:
    names = [c.get("name", "") for c in containers(spec) if security(c).get("privileged")]
    if not names:
        return None
    return Finding("privileged", f"{named('container', names)} must not set securityContext.privileged=true")


def proc_mount(meta: Object, spec: Object) -> Finding | None:
    """No container unmasks /proc."""
    names, kinds = [], set()
    for container in containers(spec):
        kind = security(container).get("procMount")
        if kind is not None and kind != "Default":
            names.append(container.get("name", ""))
            kinds.add(kind)
    if not names:
        return None
    return Finding(
        "procMount", f"{named('container', names)} must not set securityContext.procMount to {quoted(sorted(kinds))}"
    )


def _selinux(allowed: frozenset[str]) -> Check:
    def check(meta: Object, spec: Object) -> Finding | None:
        def bad(context: Object) -> bool:
            options = context.get("seLinuxOptions") or {}
            return (options.get("type") or "") not in allowed or bool(options.get("user") or options.get("role"))

        who = setters(spec, bad)
        if not who:
            return None
        wrong = [context["seLinuxOptions"] for context in each_context(spec) if bad(context)]
        kinds = sorted({options.get("type") or "" for options in wrong} - allowed)
        data = [named("type", kinds)] if kinds else []
        data += [f"{key} may not be set" for key in ("user", "role") if any(options.get(key) for options in wrong)]
        what = f"{' and '.join(who)} set forbidden securityContext.seLinuxOptions: {'; '.join(data)}"
        return Finding("seLinuxOptions", what)

    return check


def _seccomp_annotations(meta: Object, spec: Object) -> Finding | None:
    annotations: Mapping[str, str] = meta.get("annotations") or {}
    keys = {_SECCOMP_POD, *(_SECCOMP_CONTAINER + str(c.get("name")) for c in containers(spec))}
    wrong = sorted(
        f'{key}="{annotations[key]}"'
        for key in keys
        if key in annotations
        and annotations[key] not in ("runtime/default", "docker/default")
        and not annotations[key].startswith("localhost/")
    )
    if not wrong:
        return None
    return Finding("seccompProfile", f"forbidden {plural('annotation', len(wrong))} {', '.join(wrong)}")


def bad_seccomp(context: Object) -> bool:
    """Whether a security context states a seccomp profile that is not allowed."""
    profile = context.get("seccompProfile")
    return profile is not None and profile.get("type") not in _PROFILES


def seccomp(meta: Object, spec: Object) -> Finding | None:
    """Whatever seccomp profile is stated is the runtime's default or a local one."""
    who = setters(spec, bad_seccomp)
    if not who:
        return None
    values = sorted({c["seccompProfile"].get("type") or "" for c in each_context(spec) if bad_seccomp(c)})
    what = f"{' and '.join(who)} must not set securityContext.seccompProfile.type to {quoted(values)}"
    return Finding("seccompProfile", what)


def _sysctls(allowed: frozenset[str]) -> Check:
    def check(meta: Object, spec: Object) -> Finding | None:
        stated = [sysctl.get("name", "") for sysctl in security(spec).get("sysctls") or ()]
        wrong = [name for name in stated if name not in allowed]
        return Finding("forbidden sysctls", ", ".join(wrong)) if wrong else None

    return check


def _host_process(meta: Object, spec: Object) -> Finding | None:
    who = setters(spec, lambda context: bool((context.get("windowsOptions") or {}).get("hostProcess")))
    if not who:
        return None
    return Finding("hostProcess", f"{' and '.join(who)} must not set securityContext.windowsOptions.hostProcess=true")


BASELINE: dict[str, tuple[Pick, ...]] = {
    "appArmorProfile": (Pick(0, _app_armor),),
    "capabilities_baseline": (Pick(0, _capabilities),),
    "hostNamespaces": (Pick(0, _host_namespaces),),
    "hostPathVolumes": (Pick(0, _host_path),),
    "hostPorts": (Pick(0, _host_ports),),
    "hostProbesAndHostLifecycle": (Pick(34, _host_probes),),
    "privileged": (Pick(0, _privileged),),
    "procMount": (Pick(0, proc_mount), Pick(35, unless_own_users(proc_mount))),
    "seLinuxOptions": (Pick(0, _selinux(_SELINUX)), Pick(31, _selinux(_SELINUX | {"container_engine_t"}))),
    "seccompProfile_baseline": (Pick(0, _seccomp_annotations), Pick(19, seccomp)),
    "sysctls": (
        Pick(0, _sysctls(_SYSCTLS)),
        Pick(27, _sysctls(_SYSCTLS_27)),
        Pick(29, _sysctls(_SYSCTLS_29)),
        Pick(32, _sysctls(_SYSCTLS_32)),
    ),
    "windowsHostProcess": (Pick(0, _host_process),),
}
"""The checks by name, in order of versions."""
