"""What pods say to Windows nodes, and what they may not say there or elsewhere."""

from __future__ import annotations

import re
from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.kubernetes.apiserver.kinds.pod.visiting import visit

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NETBIOS = re.compile(r'[^\\/:*?"<>|.][^\\/:*?"<>|]{0,14}')
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_DOTS = re.compile(r"[. ]+")
_BAD = re.compile(r'["/\\:;|=,+*?<>@\[\]]')
_SPEC_LIMIT = 64
_NOT_HERE = "cannot be set for a windows pod"
_POD_CONTEXT = (
    ("appArmorProfile", "securityContext.appArmorProfile"),
    ("seLinuxOptions", "securityContext.seLinuxOptions"),
    ("", "hostUsers"),
    ("", "hostPID"),
    ("", "hostIPC"),
    ("seccompProfile", "securityContext.seccompProfile"),
    ("fsGroup", "securityContext.fsGroup"),
    ("fsGroupChangePolicy", "securityContext.fsGroupChangePolicy"),
    ("sysctls", "securityContext.sysctls"),
    ("", "shareProcessNamespace"),
    ("runAsUser", "securityContext.runAsUser"),
    ("runAsGroup", "securityContext.runAsGroup"),
    ("supplementalGroups", "securityContext.supplementalGroups"),
    ("supplementalGroupsPolicy", "securityContext.supplementalGroupsPolicy"),
    ("seLinuxChangePolicy", "securityContext.seLinuxChangePolicy"),
)
_CONTAINER_CONTEXT = (
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
)


def validate_windows_options(path: str, options: dict[str, Any]) -> list[Cause]:
    """What is wrong with `windowsOptions`."""
    found: list[Cause] = []
    name, spec = options.get("gmsaCredentialSpecName"), options.get("gmsaCredentialSpec")
    if name is not None:
        found += fields.each(f"{path}.gmsaCredentialSpecName", name, names.check_subdomain(name))
    if spec is not None:
        here = f"{path}.gmsaCredentialSpec"
        if not spec:
            found.append(fields.invalid(here, spec, "gmsaCredentialSpec cannot be an empty string"))
        elif len(spec) > _SPEC_LIMIT * 1024:
            found.append(fields.invalid(here, spec, f"gmsaCredentialSpec size must be under {_SPEC_LIMIT} KiB"))
    user = options.get("runAsUserName")
    return found + ([] if user is None else fields.each(f"{path}.runAsUserName", user, _user_name(user)))


def _user_name(text: str) -> list[str]:
    if not text:
        return ["runAsUserName cannot be an empty string"]
    if _CONTROL.search(text):
        return ["runAsUserName cannot contain control characters"]
    if text.count("\\") > 1:
        return ["runAsUserName cannot contain more than one backslash"]
    domain, backslash, user = text.rpartition("\\")
    wrong = []
    if len(domain) >= 256:
        wrong.append("runAsUserName's Domain length must be under 256 characters")
    if backslash and not (_NETBIOS.fullmatch(domain) or _DOMAIN.fullmatch(domain)):
        wrong.append("runAsUserName's Domain doesn't match the NetBios nor the DNS format")
    if not user:
        wrong.append("runAsUserName's User cannot be empty")
    elif len(user) > 104:
        wrong.append("runAsUserName's User length must not be longer than 104 characters")
    if _DOTS.fullmatch(user):
        wrong.append("runAsUserName's User cannot contain only periods or spaces")
    if _BAD.search(user):
        wrong.append("runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]")
    return wrong


def _host_process(context: dict[str, Any] | None) -> bool | None:
    found: bool | None = ((context or {}).get("windowsOptions") or {}).get("hostProcess")
    return found


def validate_host_process(path: str, spec: dict[str, Any], found: list[Cause]) -> None:
    """Host-process containers: all or none, and only in the host's network."""
    whole = _host_process(spec.get("securityContext"))
    count = hosted = 0
    for container, here in visit(spec, path):
        count += 1
        own = _host_process(container.get("securityContext"))
        if whole is not None and own is not None and whole != own:
            detail = f"pod hostProcess value must be identical if both are specified, was {str(whole).lower()}"
            found.append(fields.invalid(f"{here}.securityContext.windowsOptions.hostProcess", own, detail))
        hosted += bool(whole if own is None else own)
    if not hosted:
        return
    if hosted != count:
        detail = "If pod contains any hostProcess containers then all containers must be HostProcess containers"
        found.append(fields.invalid(path, "", detail))
    if not spec.get("hostNetwork"):
        detail = "hostNetwork must be true if pod contains any hostProcess containers"
        found.append(fields.invalid(f"{path}.hostNetwork", False, detail))


def validate_os(path: str, spec: dict[str, Any], found: list[Cause]) -> None:
    """The operating system that a pod is for, and what does not go with it."""
    name = spec["os"].get("name") or ""
    if not name:
        found.append(fields.required(f"{path}.os.name"))
    elif name == "linux":
        _only_linux(path, spec, found)
    elif name == "windows":
        _only_windows(path, spec, found)
    else:
        found.append(fields.unsupported(f"{path}.os", name, ("linux", "windows")))


def _only_linux(path: str, spec: dict[str, Any], found: list[Cause]) -> None:
    detail = "windows options cannot be set for a linux pod"
    if (spec.get("securityContext") or {}).get("windowsOptions") is not None:
        found.append(fields.forbidden(f"{path}.securityContext.windowsOptions", detail))
    for container, here in visit(spec, path):
        if (container.get("securityContext") or {}).get("windowsOptions") is not None:
            found.append(fields.forbidden(f"{here}.securityContext.windowsOptions", detail))


def _only_windows(path: str, spec: dict[str, Any], found: list[Cause]) -> None:
    context = spec.get("securityContext") or {}
    for key, where in _POD_CONTEXT:
        value = context.get(key) if key else spec.get(where)
        if value is not None and not (value in (False, []) and where in ("hostPID", "hostIPC")):
            found.append(fields.forbidden(f"{path}.{where}", _NOT_HERE))
    for container, here in visit(spec, path):
        own = container.get("securityContext") or {}
        for key in _CONTAINER_CONTEXT:
            if own.get(key) is not None:
                found.append(fields.forbidden(f"{here}.securityContext.{key}", _NOT_HERE))
