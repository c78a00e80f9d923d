"""What a machine's Node is made with: labels and taints, by options as upstream's kubelet has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kumo.api.names import check_label_value, check_qualified_name
from kumo.cli.instance import Instance, InstanceError

if TYPE_CHECKING:
    from kumo.kubernetes.kubelet.config import KubeletConfig

_Command = TypeVar("_Command", bound=Callable[..., Any])
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
NONE = "none"
"""What is given to have none any more."""


def options(command: _Command) -> _Command:
    """The options about the Node of this machine; they are remembered from start to start."""
    added = [
        click.option(
            "--node-labels",
            default="",
            metavar="KEY=VALUE,...",
            help="Labels that this machine's Node has. Remembered; none for no more.",
        ),
        click.option(
            "--register-with-taints",
            default="",
            metavar="KEY=VALUE:EFFECT,...",
            help="Taints that this machine's Node is made with. Remembered; none for no more.",
        ),
    ]
    for option in reversed(added):
        command = option(command)
    return command


def choose(instance: Instance, given: dict[str, Any]) -> Instance:
    """The instance with what was asked for; the rest stays as it was. Raises InstanceError."""
    wanted: dict[str, Any] = {}
    for option, name, read in (("node_labels", "node_labels", labels), ("register_with_taints", "node_taints", taints)):
        text = given.get(option)
        if text and text != NONE:
            read(text)
        if text:
            wanted[name] = "" if text == NONE else text
    return replace(instance, **wanted)


def labels(text: str) -> dict[str, str]:
    """The labels written as `key=value,...`. Raises InstanceError, for those too that are not a node's to set."""
    from kumo.kubernetes.apiserver.admission.node_labels import forbidden_labels

    found: dict[str, str] = {}
    for item in filter(None, text.split(",")):
        key, _, value = item.partition("=")
        faults = check_qualified_name(key) or check_label_value(value)
        if faults:
            raise InstanceError(f"--node-labels {item}: {faults[0]}")
        found[key] = value
    if wrong := forbidden_labels(found, {}):
        raise InstanceError(
            f"--node-labels: a node may not give itself the labels {', '.join(wrong)}. Give them by 'kubectl label "
            f"node', or use labels of kubelet.kubernetes.io, node.kubernetes.io or of your own domain"
        )
    return found


def taints(text: str) -> tuple[dict[str, str], ...]:
    """The taints written as `key=value:effect,...` or `key:effect`. Raises InstanceError."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for item in filter(None, text.split(",")):
        rest, _, effect = item.rpartition(":")
        key, _, value = rest.partition("=")
        if not rest or effect not in _EFFECTS:
            raise InstanceError(f"--register-with-taints {item}: write KEY=VALUE:EFFECT, one of {', '.join(_EFFECTS)}")
        faults = check_qualified_name(key) or check_label_value(value)
        if faults:
            raise InstanceError(f"--register-with-taints {item}: {faults[0]}")
        if (key, effect) in found:
            raise InstanceError(f"--register-with-taints: {key}:{effect} is there twice")
        found[key, effect] = {"key": key, "effect": effect, **({"value": value} if value else {})}
    return tuple(found.values())


def applied(instance: Instance, config: KubeletConfig) -> KubeletConfig:
    """The kubelet's settings with the instance's labels and taints beside those that it has."""
    return replace(
        config,
        labels={**config.labels, **labels(instance.node_labels)},
        taints=(*config.taints, *taints(instance.node_taints)),
    )


def registration(instance: Instance) -> tuple[dict[str, str], list[dict[str, str]]]:
    """The labels and taints that the Node is made with, by options and by the KubeletConfiguration."""
    from kumo.cli.kubelet_options import configured
    from kumo.kubernetes.kubelet.config import KubeletConfig

    plain = KubeletConfig(instance.node_name, instance.address, instance.node_dir, instance.cgroup_root)
    config = applied(instance, configured(instance, plain)[0])
    return dict(config.labels), [dict(taint) for taint in config.taints]
