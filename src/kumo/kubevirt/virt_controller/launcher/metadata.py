"""Labels and annotations of the pod, and which nodes it may run on."""

from __future__ import annotations

import json
from typing import Any

from kumo.api.objects import Object, annotations_of, labels_of, name_of, namespace_of, uid_of
from kumo.kubevirt.common import names
from kumo.kubevirt.common.config import ClusterConfig
from kumo.kubevirt.common.launcher_contract import COMPUTE
from kumo.kubevirt.common.specs import Spec, domain, interfaces, networks

_OBSOLETE_HOST_MODEL = "node-labeller.kubevirt.io/obsolete-host-model"
_OWN_ANNOTATIONS = (names.LATEST_API_ANNOTATION, names.STORAGE_API_ANNOTATION)


def sanitized_hostname(vmi: Object) -> str:
    """The host name of pod and guest: the one asked for, or the name as far as it makes a label (RFC 1123)."""
    asked = (vmi.get("spec") or {}).get("hostname")
    return str(asked) if asked else name_of(vmi).split(".")[0][:63].rstrip("-.")


def pod_labels(vmi: Object) -> dict[str, str]:
    """The VMI's labels, and those by which the pod is found."""
    return labels_of(vmi) | {
        names.APP_LABEL: "virt-launcher",
        names.CREATED_BY_LABEL: uid_of(vmi),
        names.VM_NAME_LABEL: sanitized_hostname(vmi),
        names.VMI_ID_LABEL: name_of(vmi)[:63],
    }


def pod_annotations(vmi: Object, overhead: int) -> dict[str, str]:
    """The VMI's annotations, except those for its own version, and what tools around the pod look for."""
    found = {k: v for k, v in annotations_of(vmi).items() if k not in _OWN_ANNOTATIONS and not _is_kubectl(k)}
    name, namespace = name_of(vmi), namespace_of(vmi)
    found |= {
        names.DOMAIN_ANNOTATION: name,
        names.MIGRATION_TRANSPORT_ANNOTATION: "true",
        names.OVERHEAD_ANNOTATION: str(overhead),
        "kubectl.kubernetes.io/default-container": COMPUTE,
        "descheduler.alpha.kubernetes.io/request-evict-only": "",
    }
    for when, flag in (("pre", "--freeze"), ("post", "--unfreeze")):
        command = ["/usr/bin/virt-freezer", flag, "--name", name, "--namespace", namespace]
        found[f"{when}.hook.backup.velero.io/container"] = COMPUTE
        found[f"{when}.hook.backup.velero.io/command"] = json.dumps(command)
    found["pre.hook.backup.velero.io/timeout"] = "60s"
    if _masquerades(vmi["spec"]):
        found["istio.io/reroute-virtual-interfaces"] = "k6t-eth0"
        found["traffic.sidecar.istio.io/kubevirtInterfaces"] = "k6t-eth0"
    return found


def _is_kubectl(key: str) -> bool:
    return key == "kubectl.kubernetes.io/last-applied-configuration"


def _masquerades(spec: Spec) -> bool:
    on_pod = {n.get("name") for n in networks(spec) if n.get("pod") is not None}
    return any(i.get("masquerade") is not None and i.get("name") in on_pod for i in interfaces(spec))


def node_selector(vmi: Object, config: ClusterConfig) -> dict[str, str]:
    """Labels that a node must have: those of the VM and the cluster, architecture, machine type, CPU model."""
    spec = vmi["spec"]
    found = {**config.node_selectors, **(spec.get("nodeSelector") or {}), names.SCHEDULABLE_LABEL: "true"}
    if spec.get("architecture"):
        found["kubernetes.io/arch"] = spec["architecture"]
    machine = ((vmi.get("status") or {}).get("machine") or domain(spec).get("machine") or {}).get("type")
    if machine:
        found[f"machine-type.node.kubevirt.io/{machine}"] = "true"
    cpu = domain(spec).get("cpu") or {}
    model = cpu.get("model", "")
    if cpu.get("dedicatedCpuPlacement"):
        found["cpumanager"] = "true"
    if model not in ("", "host-model", "host-passthrough"):
        found[f"cpu-model.node.kubevirt.io/{model}"] = "true"
        for feature in cpu.get("features") or ():
            if feature.get("policy", "") in ("", "require"):
                found[f"cpu-feature.node.kubevirt.io/{feature['name']}"] = "true"
    if cpu.get("realtime") is not None:
        found["kubevirt.io/realtime"] = "true"
    return found


def affinity(vmi: Object) -> dict[str, Any]:
    """The VM's affinity, and away from nodes whose host CPU model is known to be obsolete, if that matters."""
    spec = vmi["spec"]
    found: dict[str, Any] = json.loads(json.dumps(spec.get("affinity") or {}))
    if (domain(spec).get("cpu") or {}).get("model") != "host-model":
        return found
    rule = {"key": _OBSOLETE_HOST_MODEL, "operator": "DoesNotExist"}
    node = found.setdefault("nodeAffinity", {})
    hard = node.setdefault("requiredDuringSchedulingIgnoredDuringExecution", {"nodeSelectorTerms": []})
    if not hard["nodeSelectorTerms"]:
        hard["nodeSelectorTerms"].append({})
    for term in hard["nodeSelectorTerms"]:
        term.setdefault("matchExpressions", []).append(rule)
    return found
