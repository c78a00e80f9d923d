"""Defaults of pods and pod templates (`pkg/apis/core/v1/defaults.go`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

_PROBE = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
_SPEC = {
    "dnsPolicy": "ClusterFirst",
    "restartPolicy": "Always",
    "terminationGracePeriodSeconds": 30,
    "schedulerName": "default-scheduler",
}
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
_VOLUME_SOURCES_WITH_MODE = ("secret", "configMap", "downwardAPI", "projected")
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


def _same_account(spec: dict[str, Any]) -> None:
    """`serviceAccount` is the old name of `serviceAccountName`; objects always show both."""
    name = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if name:
        spec["serviceAccountName"] = spec["serviceAccount"] = name


def default_pod(spec: dict[str, Any]) -> None:
    """What pods have beyond templates: requests from limits, host ports, service links."""
    default_pod_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    for key in ("containers", "initContainers"):
        for container in spec.get(key) or ():
            limits = (container.get("resources") or {}).get("limits")
            if limits:
                requests = container["resources"].setdefault("requests", {})
                for name, quantity in limits.items():
                    requests.setdefault(name, quantity)
            if spec.get("hostNetwork"):
                for port in container.get("ports") or ():
                    if not port.get("hostPort"):
                        port["hostPort"] = port.get("containerPort")


def pull_policy(image: str) -> str:
    """`Always` for an image without tag or with `latest`, else `IfNotPresent`."""
    if "@" in image:
        return "IfNotPresent"
    tag = image.rpartition("/")[2].partition(":")[2]
    return "Always" if tag in ("", "latest") else "IfNotPresent"


def default_container(container: dict[str, Any]) -> None:
    """Set the defaults of one container, in place."""
    if not container.get("imagePullPolicy"):
        container["imagePullPolicy"] = pull_policy(container.get("image") or "")
    if not container.get("terminationMessagePath"):
        container["terminationMessagePath"] = "/dev/termination-log"
    if not container.get("terminationMessagePolicy"):
        container["terminationMessagePolicy"] = "File"
    if container.get("resources") is None:
        container["resources"] = {}
    for port in container.get("ports") or ():
        if not port.get("protocol"):
            port["protocol"] = "TCP"
    for key in _PROBES:
        if container.get(key):
            default_probe(container[key])
    for hook in (container.get("lifecycle") or {}).values():
        if isinstance(hook, dict) and hook.get("httpGet") is not None:
            _default_http(hook["httpGet"])
    for variable in container.get("env") or ():
        reference = (variable.get("valueFrom") or {}).get("fieldRef")
        if reference is not None and not reference.get("apiVersion"):
            reference["apiVersion"] = "v1"


def default_probe(probe: dict[str, Any]) -> None:
    """Set the defaults of a probe, in place."""
    for key, value in _PROBE.items():
        if not probe.get(key):
            probe[key] = value
    if probe.get("httpGet") is not None:
        _default_http(probe["httpGet"])
    if probe.get("grpc") is not None:
        probe["grpc"].setdefault("service", "")


def _default_http(action: dict[str, Any]) -> None:
    if not action.get("path"):
        action["path"] = "/"
    if not action.get("scheme"):
        action["scheme"] = "HTTP"


def _host_path(source: dict[str, Any]) -> None:
    source.setdefault("type", "")


def _iscsi(source: dict[str, Any]) -> None:
    source.setdefault("iscsiInterface", "default")


def _ephemeral(source: dict[str, Any]) -> None:
    claim = (source.get("volumeClaimTemplate") or {}).get("spec")
    if claim is not None:
        claim.setdefault("volumeMode", "Filesystem")


_SOURCES: dict[str, Callable[[dict[str, Any]], None]] = {
    "hostPath": _host_path,
    "iscsi": _iscsi,
    "ephemeral": _ephemeral,
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
        if key in _VOLUME_SOURCES_WITH_MODE:
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
