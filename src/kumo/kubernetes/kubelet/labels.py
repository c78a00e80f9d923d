"""Labels and annotations by which the kubelet knows its sandboxes and containers again (upstream's names)."""

from __future__ import annotations

import hashlib
import json

from kumo.api.objects import Object, name_of, namespace_of, uid_of

POD_NAME = "io.kubernetes.pod.name"
POD_NAMESPACE = "io.kubernetes.pod.namespace"
POD_UID = "io.kubernetes.pod.uid"
CONTAINER_NAME = "io.kubernetes.container.name"
RESTART_COUNT = "io.kubernetes.container.restartCount"
HASH = "io.kubernetes.container.hash"
TERMINATION_PATH = "io.kubernetes.container.terminationMessagePath"
TERMINATION_POLICY = "io.kubernetes.container.terminationMessagePolicy"
GRACE_PERIOD = "io.kubernetes.pod.terminationGracePeriod"
TERMINATION_FILE = "kumo.dev/termination-file"
"""The host's path of the file that the container sees as its terminationMessagePath."""


def pod_labels(pod: Object) -> dict[str, str]:
    """The labels of everything that belongs to the pod."""
    return {POD_NAME: name_of(pod), POD_NAMESPACE: namespace_of(pod), POD_UID: uid_of(pod)}


def container_hash(container: Object) -> str:
    """A short hash of what makes a container another one (its name and image, as upstream since 1.31)."""
    text = json.dumps({"name": container.get("name"), "image": container.get("image")}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def log_folder(pod: Object) -> str:
    """The name of the pod's log directory."""
    return f"{namespace_of(pod)}_{name_of(pod)}_{uid_of(pod)}"
