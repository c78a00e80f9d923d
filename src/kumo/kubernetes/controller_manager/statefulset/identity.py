"""Who a pod of a stateful set is: its ordinal, name, labels, host name and volumes."""

from __future__ import annotations

import re
from typing import Any

from kumo.api.objects import Object, labels_of, name_of, namespace_of
from kumo.kubernetes.controller_manager import pods as p
from kumo.kubernetes.controller_manager.revisions import HASH_LABEL

NAME_LABEL = "statefulset.kubernetes.io/pod-name"
INDEX_LABEL = "apps.kubernetes.io/pod-index"
_NAME = re.compile(r"(.*)-([0-9]+)$", re.DOTALL)
_LARGEST = 2**31 - 1


def parent_and_ordinal(pod: Object) -> tuple[str, int]:
    """What the pod's name says; ordinal -1 if it says nothing."""
    found = _NAME.match(name_of(pod))
    if found is None or not found[2].isascii() or len(found[2]) > 10 or int(found[2]) > _LARGEST:
        return "", -1
    return found[1], int(found[2])


def ordinal(pod: Object) -> int:
    """The number at the end of the pod's name, or -1."""
    return parent_and_ordinal(pod)[1]


def is_member(stateful_set: Object, pod: Object) -> bool:
    """Whether the pod's name is one that the set gives."""
    return parent_and_ordinal(pod)[0] == name_of(stateful_set)


def replicas(stateful_set: Object) -> int:
    """`spec.replicas`, 1 by default."""
    return int(stateful_set["spec"].get("replicas", 1))


def start(stateful_set: Object) -> int:
    """The first ordinal (`spec.ordinals.start`)."""
    return int((stateful_set["spec"].get("ordinals") or {}).get("start") or 0)


def in_range(stateful_set: Object, number: int) -> bool:
    """Whether the set is to have a pod of that ordinal."""
    first = start(stateful_set)
    return first <= number < first + replicas(stateful_set)


def templates(stateful_set: Object) -> list[dict[str, Any]]:
    """`spec.volumeClaimTemplates`."""
    found: list[dict[str, Any]] = stateful_set["spec"].get("volumeClaimTemplates") or []
    return found


def claim_name(stateful_set: Object, template: Object, number: int) -> str:
    """The name of the volume claim that a template makes for the pod of an ordinal."""
    return f"{name_of(template)}-{name_of(stateful_set)}-{number}"


def identity_matches(stateful_set: Object, pod: Object) -> bool:
    """Whether name and name label are those of one of the set's pods."""
    parent, number = parent_and_ordinal(pod)
    own_name = f"{name_of(stateful_set)}-{number}" == name_of(pod)
    return (
        number >= 0 and parent == name_of(stateful_set) and own_name and labels_of(pod).get(NAME_LABEL) == name_of(pod)
    )


def storage_matches(stateful_set: Object, pod: Object) -> bool:
    """Whether every claim template has its volume in the pod."""
    number = ordinal(pod)
    volumes = {v.get("name"): v for v in (pod.get("spec") or {}).get("volumes") or ()}
    return number >= 0 and all(
        ((volumes.get(name_of(t)) or {}).get("persistentVolumeClaim") or {}).get("claimName")
        == claim_name(stateful_set, t, number)
        for t in templates(stateful_set)
    )


def with_identity(stateful_set: Object, pod: Object) -> Object:
    """The pod with the labels and volumes that the set gives the pod of its ordinal."""
    number = ordinal(pod)
    labels = {**labels_of(pod), NAME_LABEL: name_of(pod), INDEX_LABEL: str(number)}
    made = {**pod, "metadata": {**pod["metadata"], "labels": labels}}
    if not storage_matches(stateful_set, pod):
        volumes = _volumes(stateful_set, pod, number)
        made["spec"] = {**pod["spec"], "volumes": volumes}
    return made


def _volumes(stateful_set: Object, pod: Object, number: int) -> list[dict[str, Any]]:
    claimed = [
        {"name": name_of(t), "persistentVolumeClaim": {"claimName": claim_name(stateful_set, t, number)}}
        for t in templates(stateful_set)
    ]
    names = {v["name"] for v in claimed}
    return claimed + [v for v in (pod.get("spec") or {}).get("volumes") or () if v.get("name") not in names]


def new_pod(stateful_set: Object, template: dict[str, Any], revision: str, number: int) -> Object:
    """The pod of an ordinal, of the template that the revision of that name keeps."""
    pod = p.from_template(template, stateful_set)
    pod["metadata"]["name"] = name = f"{name_of(stateful_set)}-{number}"
    pod["metadata"]["namespace"] = namespace_of(stateful_set)
    pod["spec"]["hostname"] = name
    if stateful_set["spec"].get("serviceName"):
        pod["spec"]["subdomain"] = stateful_set["spec"]["serviceName"]
    pod = with_identity(stateful_set, pod)
    pod["metadata"]["labels"][HASH_LABEL] = revision
    return pod
