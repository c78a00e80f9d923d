"""Which controllers there are, and what each is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from kumo.kubernetes.controller_manager.account_tokens import LegacyTokenCleaner, TokensController
from kumo.kubernetes.controller_manager.accounts import RootCAPublisher, ServiceAccountController
from kumo.kubernetes.controller_manager.attach_detach.controller import AttachDetachController
from kumo.kubernetes.controller_manager.bootstrap_tokens import BootstrapSigner, BootstrapTokenCleaner
from kumo.kubernetes.controller_manager.certificates import (
    ServingRequestApprover,
    SigningAuthority,
    SigningRequestApprover,
    SigningRequestCleaner,
    SigningRequestSigner,
)
from kumo.kubernetes.controller_manager.cluster_roles import ClusterRoleAggregationController
from kumo.kubernetes.controller_manager.cron_job.controller import CronJobController
from kumo.kubernetes.controller_manager.daemonset.controller import DaemonSetController
from kumo.kubernetes.controller_manager.deployment.controller import DeploymentController
from kumo.kubernetes.controller_manager.device_taints import DeviceTaintController
from kumo.kubernetes.controller_manager.disruption.controller import DisruptionController
from kumo.kubernetes.controller_manager.endpoints.controller import EndpointsController, EndpointSliceController
from kumo.kubernetes.controller_manager.endpoints.mirroring import EndpointSliceMirroringController
from kumo.kubernetes.controller_manager.ephemeral_volumes import EphemeralVolumeController
from kumo.kubernetes.controller_manager.garbage_collector.collector import GarbageCollector
from kumo.kubernetes.controller_manager.horizontal_pod_autoscaler.config import AutoscalerConfig
from kumo.kubernetes.controller_manager.horizontal_pod_autoscaler.controller import (
    HorizontalPodAutoscalerController,
)
from kumo.kubernetes.controller_manager.job.controller import JobController
from kumo.kubernetes.controller_manager.job.expiry import TtlAfterFinishedController
from kumo.kubernetes.controller_manager.monitor import ResourceMonitor
from kumo.kubernetes.controller_manager.namespace.controller import NamespaceController
from kumo.kubernetes.controller_manager.node_ipam import NodeIpamConfig, NodeIpamController
from kumo.kubernetes.controller_manager.node_lifecycle.controller import NodeLifecycleController
from kumo.kubernetes.controller_manager.node_lifecycle.eviction import TaintEvictionController
from kumo.kubernetes.controller_manager.node_lifecycle.health import Grace
from kumo.kubernetes.controller_manager.node_ttl import NodeTtlController
from kumo.kubernetes.controller_manager.pod_collector import PodCollector, PodCollectorConfig
from kumo.kubernetes.controller_manager.replicaset.controller import ReplicaSetController, ReplicationManager
from kumo.kubernetes.controller_manager.resource_claims import ResourceClaimController
from kumo.kubernetes.controller_manager.resource_quota.controller import ResourceQuotaController
from kumo.kubernetes.controller_manager.service_ranges import ServiceRangesController
from kumo.kubernetes.controller_manager.statefulset.controller import StatefulSetController
from kumo.kubernetes.controller_manager.volume_binding.controller import VolumeBindingController
from kumo.kubernetes.controller_manager.volume_expansion import VolumeExpansionController
from kumo.kubernetes.controller_manager.volume_protection.controllers import (
    AttributesClassProtectionController,
    ClaimProtectionController,
    VolumeProtectionController,
)
from kumo.machinery.client import Client
from kumo.machinery.controller import Component
from kumo.machinery.informer import Informers
from kumo.machinery.signing_keys import load_signing_key


@dataclass(frozen=True, slots=True)
class ControllerManagerConfig:
    """What differs between clusters. `root_ca` is PEM text; without a `node_ipam` nodes get no pod network.

    Without a `signing` authority no certificates are issued, without an `account_key` (PEM) no Secrets get tokens.
    """

    root_ca: str = ""
    node_ipam: NodeIpamConfig | None = field(default_factory=NodeIpamConfig)
    node_grace: Grace = field(default_factory=Grace)
    pod_collector: PodCollectorConfig = field(default_factory=PodCollectorConfig)
    range_grace: float = 10.0
    """For how many seconds a deleted ServiceCIDR stays although nothing uses it."""
    signing: SigningAuthority | None = None
    account_key: Path | None = None
    autoscaler: AutoscalerConfig = field(default_factory=AutoscalerConfig)
    own: Client | None = None
    """A client of the controller manager itself (`system:kube-controller-manager`), which fills token Secrets."""


def controllers(
    client_for: Callable[[str], Client], informers: Informers, config: ControllerManagerConfig
) -> list[Component]:
    """All controllers of the controller manager, to be run side by side with `informers.run()`.

    `client_for` is asked once for each with the name of its service account in kube-system, as upstream names them
    (`deployment-controller`, `generic-garbage-collector`, ...), which the default RBAC roles are bound to.
    """
    monitor = ResourceMonitor(client_for("generic-garbage-collector"), informers)
    made: list[Component] = [
        monitor,
        GarbageCollector(client_for("generic-garbage-collector"), monitor),
        NamespaceController(client_for("namespace-controller"), informers, monitor),
        ServiceAccountController(client_for("service-account-controller"), informers),
        RootCAPublisher(client_for("root-ca-cert-publisher"), informers, config.root_ca),
        ClusterRoleAggregationController(client_for("clusterrole-aggregation-controller"), informers),
        ReplicaSetController(client_for("replicaset-controller"), informers),
        ReplicationManager(client_for("replication-controller"), informers),
        DeploymentController(client_for("deployment-controller"), informers),
        StatefulSetController(client_for("statefulset-controller"), informers),
        DaemonSetController(client_for("daemon-set-controller"), informers),
        JobController(client_for("job-controller"), informers),
        CronJobController(client_for("cronjob-controller"), informers),
        TtlAfterFinishedController(client_for("ttl-after-finished-controller"), informers),
        EndpointSliceController(client_for("endpointslice-controller"), informers),
        EndpointsController(client_for("endpoint-controller"), informers),
        EndpointSliceMirroringController(client_for("endpointslicemirroring-controller"), informers),
        NodeLifecycleController(client_for("node-controller"), informers, config.node_grace),
        TaintEvictionController(client_for("node-controller"), informers),
        NodeTtlController(client_for("ttl-controller"), informers),
        PodCollector(client_for("pod-garbage-collector"), informers, config.pod_collector),
        ResourceQuotaController(client_for("resourcequota-controller"), informers, monitor),
        DisruptionController(client_for("disruption-controller"), informers, monitor),
        HorizontalPodAutoscalerController(
            client_for("horizontal-pod-autoscaler"), informers, monitor, config.autoscaler
        ),
        VolumeBindingController(client_for("persistent-volume-binder"), informers),
        EphemeralVolumeController(client_for("ephemeral-volume-controller"), informers),
        ResourceClaimController(client_for("resource-claim-controller"), informers),
        DeviceTaintController(client_for("device-taint-eviction-controller"), informers),
        AttachDetachController(client_for("attachdetach-controller"), informers),
        VolumeExpansionController(client_for("expand-controller"), informers),
        ClaimProtectionController(client_for("pvc-protection-controller"), informers),
        VolumeProtectionController(client_for("pv-protection-controller"), informers),
        AttributesClassProtectionController(client_for("volumeattributesclass-protection-controller"), informers),
        ServiceRangesController(client_for("service-cidrs-controller"), informers, config.range_grace),
    ]
    made += _identity(client_for, informers, config)
    if config.node_ipam is not None:
        made.append(NodeIpamController(client_for("node-controller"), informers, config.node_ipam))
    return made


def _identity(
    client_for: Callable[[str], Client], informers: Informers, config: ControllerManagerConfig
) -> list[Component]:
    """The controllers of certificates and tokens."""
    certificates = client_for("certificate-controller")
    made: list[Component] = [
        SigningRequestApprover(certificates, informers),
        ServingRequestApprover(client_for("kubelet-serving-approver"), informers),
        SigningRequestCleaner(certificates, informers),
        LegacyTokenCleaner(client_for("legacy-service-account-token-cleaner"), informers),
        BootstrapSigner(client_for("bootstrap-signer"), informers),
        BootstrapTokenCleaner(client_for("token-cleaner"), informers),
    ]
    if config.signing is not None:
        made.append(SigningRequestSigner(certificates, informers, config.signing))
    if config.account_key is not None and config.own is not None:
        key = load_signing_key(config.account_key)
        made.append(TokensController(config.own, informers, key, config.root_ca))
    return made
