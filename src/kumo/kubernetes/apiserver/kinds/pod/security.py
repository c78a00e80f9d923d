"""Security contexts of containers and pods, seccomp and AppArmor profiles, sysctls."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from kumo.api import fields
from kumo.api.errors import Cause
from kumo.kubernetes.apiserver.kinds.pod.options import Options
from kumo.kubernetes.apiserver.kinds.pod.paths import descending
from kumo.kubernetes.apiserver.kinds.pod.windows import validate_windows_options

_RANGE = "must be between 0 and 2147483647, inclusive"
_SYSCTL = r"([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_PROFILES = ("Localhost", "RuntimeDefault", "Unconfined")
_IPC_SYSCTLS = frozenset(
    f"kernel.{name}"
    for name in ("sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced", "shm", "msgmax", "msgmnb", "msgmni", "msg")
)


def validate_container_security(path: str, context: dict[str, Any], host_users: bool, found: list[Cause]) -> None:
    """What is wrong with a container's security context."""
    for key in ("runAsUser", "runAsGroup"):
        found += _id(f"{path}.{key}", context.get(key))
    mount = context.get("procMount")
    if mount is not None:
        if mount not in ("Default", "Unmasked"):
            found.append(fields.unsupported(f"{path}.procMount", mount, ("Default", "Unmasked")))
        if host_users and mount == "Unmasked":
            found.append(fields.invalid(f"{path}.procMount", mount, "`hostUsers` must be false to use `Unmasked`"))
    if context.get("seccompProfile") is not None:
        validate_seccomp(f"{path}.seccompProfile", context["seccompProfile"], found)
    if context.get("allowPrivilegeEscalation") is False:
        shown = _internal(context)
        if context.get("privileged"):
            detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            found.append(fields.invalid(path, shown, detail))
        for name in (context.get("capabilities") or {}).get("add") or ():
            if name == "CAP_SYS_ADMIN":
                detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
                found.append(fields.invalid(path, shown, detail))
    if context.get("windowsOptions") is not None:
        found += validate_windows_options(f"{path}.windowsOptions", context["windowsOptions"])
    if context.get("appArmorProfile") is not None:
        validate_apparmor(f"{path}.appArmorProfile", context["appArmorProfile"], found)


def _internal(context: Mapping[str, Any]) -> dict[str, Any]:
    """The context as upstream's messages show it: every field of the internal type, by its Go name."""

    def part(key: str, **inner: str) -> dict[str, Any] | None:
        value = context.get(key)
        return None if value is None else {go: value.get(name) for go, name in inner.items()}

    capabilities = part("capabilities", Add="add", Drop="drop")
    linux = context.get("seLinuxOptions")
    selinux = None if linux is None else {k.capitalize(): linux.get(k) or "" for k in ("user", "role", "type", "level")}
    return {
        "Capabilities": capabilities,
        "Privileged": context.get("privileged"),
        "SELinuxOptions": selinux,
        "WindowsOptions": part(
            "windowsOptions",
            GMSACredentialSpecName="gmsaCredentialSpecName",
            GMSACredentialSpec="gmsaCredentialSpec",
            RunAsUserName="runAsUserName",
            HostProcess="hostProcess",
        ),
        "RunAsUser": context.get("runAsUser"),
        "RunAsGroup": context.get("runAsGroup"),
        "RunAsNonRoot": context.get("runAsNonRoot"),
        "ReadOnlyRootFilesystem": context.get("readOnlyRootFilesystem"),
        "AllowPrivilegeEscalation": context.get("allowPrivilegeEscalation"),
        "ProcMount": context.get("procMount"),
        "SeccompProfile": part("seccompProfile", Type="type", LocalhostProfile="localhostProfile"),
        "AppArmorProfile": part("appArmorProfile", Type="type", LocalhostProfile="localhostProfile"),
    }


def _id(path: str, number: int | None) -> list[Cause]:
    if number is None or 0 <= number < 1 << 31:
        return []
    return [fields.invalid(path, number, _RANGE)]


def validate_seccomp(path: str, profile: dict[str, Any], found: list[Cause]) -> None:
    """What is wrong with a seccomp profile."""
    kind, local = profile.get("type") or "", profile.get("localhostProfile")
    if not kind:
        found.append(fields.required(f"{path}.type", "type is required when seccompProfile is set"))
    elif kind not in _PROFILES:
        found.append(fields.unsupported(f"{path}.type", kind, _PROFILES))
    here = f"{path}.localhostProfile"
    if kind == "Localhost":
        if local is None:
            found.append(fields.required(here, "must be set when seccomp type is Localhost"))
        else:
            found += descending(here, local)
    elif local is not None:
        shown = {"Type": kind, "LocalhostProfile": local}
        found.append(fields.invalid(here, shown, "can only be set when seccomp type is Localhost"))


def validate_apparmor(path: str, profile: dict[str, Any], found: list[Cause]) -> None:
    """What is wrong with an AppArmor profile."""
    kind, local, here = profile.get("type") or "", profile.get("localhostProfile"), f"{path}.localhostProfile"
    if kind == "Localhost":
        needed = "must be set when AppArmor type is Localhost"
        if local is None:
            found.append(fields.required(here, needed))
            return
        if local.strip() != local:
            found.append(fields.invalid(here, local, "must not be padded with whitespace"))
        elif not local:
            found.append(fields.required(here, needed))
        if len(local) > 4095:
            found.append(fields.too_long(here, 4095))
    elif kind in ("RuntimeDefault", "Unconfined"):
        if local is not None:
            found.append(fields.invalid(here, local, "can only be set when AppArmor type is Localhost"))
    elif not kind:
        found.append(fields.required(f"{path}.type", "type is required when appArmorProfile is set"))
    else:
        found.append(fields.unsupported(f"{path}.type", kind, _PROFILES))


def validate_pod_security(path: str, spec: dict[str, Any], options: Options, found: list[Cause]) -> None:
    """What is wrong with the security context of a pod; `path` is the spec's."""
    context: dict[str, Any] = spec.get("securityContext") or {}
    here = f"{path}.securityContext"
    if context:
        for key in ("fsGroup", "runAsUser", "runAsGroup"):
            found += _id(f"{here}.{key}", context.get(key))
        for index, number in enumerate(context.get("supplementalGroups") or ()):
            found += _id(f"{here}.supplementalGroups[{index}]", number)
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        detail = "ShareProcessNamespace and HostPID cannot both be enabled"
        found.append(fields.invalid(f"{here}.shareProcessNamespace", True, detail))
    if not context:
        return
    if context.get("sysctls"):
        _sysctls(f"{here}.sysctls", context["sysctls"], spec, found)
    _choice(here, context, "fsGroupChangePolicy", ("Always", "OnRootMismatch"), found)
    if context.get("seccompProfile") is not None:
        validate_seccomp(f"{here}.seccompProfile", context["seccompProfile"], found)
    if context.get("windowsOptions") is not None:
        found += validate_windows_options(f"{here}.windowsOptions", context["windowsOptions"])
    if context.get("appArmorProfile") is not None:
        validate_apparmor(f"{here}.appArmorProfile", context["appArmorProfile"], found)
    _choice(here, context, "supplementalGroupsPolicy", ("Merge", "Strict"), found)
    policies = ("MountOption", "Recursive") if options.any_selinux else ("Recursive",)
    _choice(here, context, "seLinuxChangePolicy", policies, found)


def _choice(path: str, context: dict[str, Any], key: str, allowed: tuple[str, ...], found: list[Cause]) -> None:
    value = context.get(key)
    if value is not None and value not in allowed:
        found.append(fields.unsupported(f"{path}.{key}", value, allowed))


def _sysctls(path: str, sysctls: Any, spec: dict[str, Any], found: list[Cause]) -> None:
    taken: set[str] = set()
    for index, item in enumerate(sysctls):
        here, name = f"{path}[{index}].name", item.get("name") or ""
        if not name:
            found.append(fields.required(here))
        elif len(name) > 253 or not re.fullmatch(_SYSCTL, name):
            found.append(fields.invalid(here, name, f"must have at most 253 characters and match regex ^{_SYSCTL}$"))
        elif name in taken:
            found.append(fields.duplicate(here, name))
        plain = name.replace("/", ".") if "/" in name else name
        if spec.get("hostNetwork") and plain.startswith("net."):
            found.append(fields.invalid(here, name, "may not be specified when 'hostNetwork' is true"))
        elif spec.get("hostIPC") and (plain in _IPC_SYSCTLS or plain.startswith("fs.mqueue.")):
            found.append(fields.invalid(here, name, "may not be specified when 'hostIPC' is true"))
        taken.add(name)


SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"
APPARMOR_CONTAINER = "container.apparmor.security.beta.kubernetes.io/"


def validate_profile_annotations(
    path: str, annotations: Mapping[str, str], known: frozenset[str], found: list[Cause]
) -> None:
    """The annotations that profiles were once given in; `known` are the names of the pod's containers."""
    if SECCOMP_POD in annotations:
        found += _seccomp_annotation(f"{path}.{SECCOMP_POD}", annotations[SECCOMP_POD])
    for key in sorted(annotations):
        if key.startswith(SECCOMP_CONTAINER):
            found += _seccomp_annotation(f"{path}.{key}", annotations[key])
    for key in sorted(annotations):
        if not key.startswith(APPARMOR_CONTAINER):
            continue
        name, value = key.removeprefix(APPARMOR_CONTAINER), annotations[key]
        if name not in known:
            found.append(fields.invalid(f"{path}[{key}]", name, "container not found"))
        if value not in ("", "runtime/default", "unconfined") and not value.startswith("localhost/"):
            found.append(fields.invalid(f"{path}[{key}]", value, f'invalid AppArmor profile name: "{value}"'))


def _seccomp_annotation(path: str, value: str) -> list[Cause]:
    if value in ("runtime/default", "docker/default", "unconfined"):
        return []
    if value.startswith("localhost/"):
        return descending(path, value.removeprefix("localhost/"))
    return [fields.invalid(path, value, "must be a valid seccomp profile")]


def validate_profiles_agree(
    path: str, kind: str, annotation: str | None, profile: dict[str, Any] | None, found: list[Cause]
) -> None:
    """An annotation must say what the field says; `kind` is `seccomp` or `apparmor`, `path` the field's."""
    if annotation is None or profile is None:
        return
    wanted = profile.get("type")
    detail = f"{kind} type in annotation and field must match"
    default = ("runtime/default", "docker/default") if kind == "seccomp" else ("runtime/default",)
    if (wanted == "Unconfined" and annotation != "unconfined") or (
        wanted == "RuntimeDefault" and annotation not in default
    ):
        found.append(fields.forbidden(f"{path}.type", detail))
    elif wanted == "Localhost":
        if not annotation.startswith("localhost/"):
            found.append(fields.forbidden(f"{path}.type", detail))
        elif annotation.removeprefix("localhost/") != profile.get("localhostProfile"):
            detail = f"{kind} profile in annotation and field must match"
            found.append(fields.forbidden(f"{path}.localhostProfile", detail))
