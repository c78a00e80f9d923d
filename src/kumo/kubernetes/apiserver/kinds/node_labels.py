"""Labels of nodes that have been replaced by others: what their users are told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kumo.api import names

_DEPRECATED = {
    "beta.kubernetes.io/arch": 'deprecated since v1.14; use "kubernetes.io/arch" instead',
    "beta.kubernetes.io/os": 'deprecated since v1.14; use "kubernetes.io/os" instead',
    "failure-domain.beta.kubernetes.io/region": 'deprecated since v1.17; use "topology.kubernetes.io/region" instead',
    "failure-domain.beta.kubernetes.io/zone": 'deprecated since v1.17; use "topology.kubernetes.io/zone" instead',
    "beta.kubernetes.io/instance-type": 'deprecated since v1.17; use "node.kubernetes.io/instance-type" instead',
    "app.kubernetes.io/created-by": "deprecated since v1.9",
    "scheduler.alpha.kubernetes.io/preferAvoidPods": "deprecated since v1.22; use Taints and Tolerations instead",
    "node-role.kubernetes.io/master": 'use "node-role.kubernetes.io/control-plane" instead',
}


def node_label_warning(key: str) -> str:
    """What is said of a node label; empty for one that is fine."""
    return _DEPRECATED.get(key, "")


def term_warnings(path: str, term: dict[str, Any], *, weighted: bool) -> Iterator[str]:
    """Warnings about a term of a node selector; `weighted`: a preferred one, whose values are not validated."""
    for index, item in enumerate(term.get("matchExpressions") or ()):
        key, here = item.get("key") or "", f"{path}.matchExpressions[{index}]"
        if key in _DEPRECATED:
            yield f"{here}.key: {key} is {_DEPRECATED[key]}"
        for number, value in enumerate(item.get("values") or ()) if weighted else ():
            for text in names.check_label_value(value):
                yield f"{here}.values[{number}]: {value} is invalid, {text}"
