"""Defaults of pods and pod templates (`pkg/apis/core/v1/defaults.go`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import lru_cache
from typing import Any

from kumo.api import quantities
from kumo.kubernetes.apiserver.kinds.pod.resources import default_pod_resources

_PROBE = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
_SPEC = {
    "dnsPolicy": "ClusterFirst",
    "restartPolicy": "Always",
    "terminationGracePeriodSeconds": 30,
    "schedulerName": "default-scheduler",
}
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
_MODES = ("secret", "configMap", "downwardAPI", "projected")
_FILE_MODE = 0o644


def containers(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All containers of a pod spec: plain, init and ephemeral ones."""
    for key in _CONTAINERS:
        yield from spec.get(key) or ()


def default_pod_spec(spec: dict[str, Any]) -> None:
    """Set the defaults of a pod's or template's spec, in place."""
    for key, value in _SPEC.items():
        if not spec.get(key) and spec.get(key) != 0:
            spec[key] = value
    if spec.get("securityContext") is None:
        spec["securityContext"] = {}
    _same_account(spec)
    for container in containers(spec):
        default_container(container)
    for volume in spec.get("volumes") or ():
        default_volume(volume)
    if spec.get("overhead"):
        round_up(spec["overhead"])


def _same_account(spec: dict[str, Any]) -> None:
    """`serviceAccount` is the old name of `serviceAccountName`; objects always show both."""
    name = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if name:
        spec["serviceAccountName"] = spec["serviceAccount"] = name


def default_pod(spec: dict[str, Any]) -> None:
    """What pods have beyond templates: requests from limits, host ports, service links."""
    default_pod_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    if spec["terminationGracePeriodSeconds"] < 0:
        spec["terminationGracePeriodSeconds"] = 1
    for key in ("containers", "initContainers"):
        for container in spec.get(key) or ():
            limits = (container.get("resources") or {}).get("limits")
            if limits:
                requests = container["resources"].setdefault("requests", {})
                for name, quantity in limits.items():
                    requests.setdefault(name, quantity)
    default_pod_resources(spec)
    if spec.get("hostNetwork"):
        _host_ports(spec)


def _host_ports(spec: dict[str, Any]) -> None:
    for key in ("containers", "initContainers"):
        for container in spec.get(key) or ():
            for port in container.get("ports") or ():
                if not port.get("hostPort") and port.get("containerPort"):
                    port["hostPort"] = port["containerPort"]


_HOST = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[a-fA-F0-9:]+\])"
_STEP = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?:{_HOST}(?::[0-9]+)?/)?(?P<path>{_STEP}(?:/{_STEP})*)"
    r"(?::(?P<tag>[\w][\w.-]{0,127}))?"
    r"(?P<digest>@(?:sha256:[a-f0-9]{64}|sha384:[a-f0-9]{96}|sha512:[a-f0-9]{128}))?",
    re.ASCII,
)

_LONGEST_PATH = 255 - len("library/")


@lru_cache(maxsize=1024)
def pull_policy(image: str) -> str:
    """`Always` for an image without tag or with `latest`, else `IfNotPresent` (also for what is no image)."""
    found = _REFERENCE.fullmatch(image)
    if found is None or len(found["path"]) > _LONGEST_PATH or re.fullmatch("[a-f0-9]{64}", image):
        return "IfNotPresent"
    tag, digest = found["tag"], found["digest"]
    return "Always" if tag == "latest" or not (tag or digest) else "IfNotPresent"


def round_up(amounts: dict[str, Any] | None) -> None:
    """Round quantities finer than a thousandth up, in place."""
    for name, text in (amounts or {}).items():
        if text[-1:] in ("n", "u"):
            amounts[name] = quantities.to_text(Fraction(quantities.milli(text), 1000))  # type: ignore[index]


def default_container(container: dict[str, Any]) -> None:
    """Set the defaults of one container, in place."""
    if not container.get("imagePullPolicy"):
        container["imagePullPolicy"] = pull_policy(container.get("image") or "")
    if not container.get("terminationMessagePath"):
        container["terminationMessagePath"] = "/dev/termination-log"
    if not container.get("terminationMessagePolicy"):
        container["terminationMessagePolicy"] = "File"
    resources = container.get("resources")
    if resources:
        round_up(resources.get("limits"))
        round_up(resources.get("requests"))
    elif resources is None:
        container["resources"] = {}
    for port in container.get("ports") or ():
        if not port.get("protocol"):
            port["protocol"] = "TCP"
    for key in _PROBES:
        if container.get(key) is not None:
            default_probe(container[key])
    for hook in (container.get("lifecycle") or {}).values():
        if isinstance(hook, dict) and hook.get("httpGet") is not None:
            _default_http(hook["httpGet"])
    for variable in container.get("env") or ():
        source = variable.get("valueFrom")
        if source:
            if source.get("fieldRef") is not None and not source["fieldRef"].get("apiVersion"):
                source["fieldRef"]["apiVersion"] = "v1"
            if source.get("fileKeyRef") is not None:
                source["fileKeyRef"].setdefault("optional", False)


def default_probe(probe: dict[str, Any]) -> None:
    """Set the defaults of a probe, in place."""
    for key, value in _PROBE.items():
        if not probe.get(key):
            probe[key] = value
    if probe.get("httpGet") is not None:
        _default_http(probe["httpGet"])
    if probe.get("grpc") is not None:
        probe["grpc"]["service"] = probe["grpc"].get("service") or ""


def _default_http(action: dict[str, Any]) -> None:
    if not action.get("path"):
        action["path"] = "/"
    if not action.get("scheme"):
        action["scheme"] = "HTTP"


def _with(**values: Any) -> Callable[[dict[str, Any]], None]:
    """Sets each of these that is missing or empty."""

    def fill(source: dict[str, Any]) -> None:
        for key, value in values.items():
            if source.get(key) in (None, ""):
                source[key] = value

    return fill


def _azure_disk(source: dict[str, Any]) -> None:
    for key, value in {"cachingMode": "ReadWrite", "fsType": "ext4", "readOnly": False, "kind": "Shared"}.items():
        source.setdefault(key, value)


def _host_path(source: dict[str, Any]) -> None:
    source.setdefault("type", "")


def _ephemeral(source: dict[str, Any]) -> None:
    claim = (source.get("volumeClaimTemplate") or {}).get("spec")
    if claim is not None:
        claim.setdefault("volumeMode", "Filesystem")


def _image(source: dict[str, Any]) -> None:
    if not source.get("pullPolicy"):
        source["pullPolicy"] = pull_policy(source.get("reference") or "")


_SOURCES: dict[str, Callable[[dict[str, Any]], None]] = {
    "hostPath": _host_path,
    "iscsi": _with(iscsiInterface="default"),
    "rbd": _with(pool="rbd", user="admin", keyring="/etc/ceph/keyring"),
    "azureDisk": _azure_disk,
    "scaleIO": _with(storageMode="ThinProvisioned", fsType="xfs"),
    "ephemeral": _ephemeral,
    "image": _image,
}


def default_volume(volume: dict[str, Any]) -> None:
    """Set the defaults of one volume, in place; a volume without any source is an emptyDir."""
    sources = [key for key in volume if key != "name"]
    if not sources:
        volume["emptyDir"] = {}
    for key in sources:
        source = volume[key]
        if not isinstance(source, dict):
            continue
        if key in _MODES:
            source.setdefault("defaultMode", _FILE_MODE)
        if key in _SOURCES:
            _SOURCES[key](source)
        if key == "downwardAPI":
            _default_items(source)
        for part in source.get("sources") or ():
            token, items = part.get("serviceAccountToken"), part.get("downwardAPI")
            if token is not None:
                token.setdefault("expirationSeconds", 3600)
            if items is not None:
                _default_items(items)


def _default_items(source: dict[str, Any]) -> None:
    for item in source.get("items") or ():
        reference = item.get("fieldRef")
        if reference is not None and not reference.get("apiVersion"):
            reference["apiVersion"] = "v1"
