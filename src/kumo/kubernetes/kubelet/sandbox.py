"""A pod's sandbox as CRI wants it described. Pure. Upstream: `kuberuntime_sandbox.go`."""

from __future__ import annotations

from pathlib import Path

from kumo.api.objects import Object, annotations_of, labels_of, name_of, namespace_of, uid_of
from kumo.host.containerd.stubs import cri_pb2 as cri
from kumo.kubernetes.kubelet import labels
from kumo.kubernetes.kubelet.dns import Dns, host_name
from kumo.kubernetes.kubelet.resources import CPU_PERIOD, pod_limits
from kumo.kubernetes.kubelet.security import sandbox_context
from kumo.kubernetes.kubelet.spec import all_containers, host_network, pod_security

_PROTOCOLS = {"TCP": 0, "UDP": 1, "SCTP": 2}


def pod_cgroup(parent: str, uid: str) -> str:
    """The pod's cgroup below the instance's."""
    return f"{parent}/pod{uid}"


def sandbox_config(
    pod: Object, *, attempt: int, logs: Path, cgroup_parent: str, dns: Dns, domain: str
) -> cri.PodSandboxConfig:
    """The configuration of the pod's sandbox number `attempt`; `logs` is the directory of all pods' logs."""
    limits = pod_limits(pod)
    return cri.PodSandboxConfig(
        metadata=cri.PodSandboxMetadata(
            name=name_of(pod), uid=uid_of(pod), namespace=namespace_of(pod), attempt=attempt
        ),
        hostname="" if host_network(pod) else host_name(pod, domain)[0],
        log_directory=str(logs / labels.log_folder(pod)),
        dns_config=cri.DNSConfig(servers=dns.servers, searches=dns.searches, options=dns.options),
        port_mappings=_port_mappings(pod),
        labels={**labels_of(pod), **labels.pod_labels(pod)},
        annotations=annotations_of(pod),
        linux=cri.LinuxPodSandboxConfig(
            cgroup_parent=pod_cgroup(cgroup_parent, uid_of(pod)),
            security_context=sandbox_context(pod),
            sysctls={s["name"]: str(s["value"]) for s in pod_security(pod).get("sysctls") or ()},
            resources=cri.LinuxContainerResources(
                cpu_period=CPU_PERIOD if limits.cpu_quota else 0,
                cpu_quota=limits.cpu_quota,
                cpu_shares=limits.cpu_shares,
                memory_limit_in_bytes=limits.memory,
            ),
        ),
    )


def _port_mappings(pod: Object) -> list[cri.PortMapping]:
    if host_network(pod):
        return []
    found = []
    for container in all_containers(pod):
        for port in container.get("ports") or ():
            if port.get("hostPort"):
                found.append(
                    cri.PortMapping(
                        protocol=_PROTOCOLS.get(port.get("protocol") or "TCP", 0),
                        container_port=port["containerPort"],
                        host_port=port["hostPort"],
                        host_ip=port.get("hostIP") or "",
                    )
                )
    return found
