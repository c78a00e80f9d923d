"""What texts fields may have, by the Go type that they are of, and what they are when nothing is said.

The types of fields are in the table of `kumo.api.schema.zeros`; the texts are what the validation of kinds allows.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from kumo.api.schema.zeros import marks_of

_SIGNALS = (
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE",
    "POLL", "PROF", "PWR", "QUIT", "RTMAX",
    *(f"RTMAX-{n}" for n in (1, *range(10, 15), *range(2, 10))),
    "RTMIN",
    *(f"RTMIN+{n}" for n in (1, *range(10, 16), *range(2, 10))),
    "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM",
    "WINCH", "XCPU", "XFSZ",
)  # fmt: skip
_USAGES = (
    "any|cert sign|client auth|code signing|content commitment|crl sign|data encipherment|decipher only"
    "|digital signature|email protection|encipher only|ipsec end system|ipsec tunnel|ipsec user|key agreement"
    "|key encipherment|microsoft sgc|netscape sgc|ocsp signing|s/mime|server auth|signing|timestamping"
)
_TYPES = {
    # core
    "AppArmorProfileType": "Localhost|RuntimeDefault|Unconfined",
    "AzureDataDiskCachingMode": "None|ReadOnly|ReadWrite",
    "AzureDataDiskKind": "Dedicated|Managed|Shared",
    "DNSPolicy": "ClusterFirst|ClusterFirstWithHostNet|Default|None",
    "HostPathType": "|BlockDevice|CharDevice|Directory|DirectoryOrCreate|File|FileOrCreate|Socket",
    "IPFamily": "|IPv4|IPv6",
    "IPFamilyPolicy": "PreferDualStack|RequireDualStack|SingleStack",
    "MountPropagationMode": "Bidirectional|HostToContainer|None",
    "NamespacePhase": "Active|Terminating",
    "NodeInclusionPolicy": "Honor|Ignore",
    "NodePhase": "Pending|Running|Terminated",
    "NodeSelectorOperator": "DoesNotExist|Exists|Gt|In|Lt|NotIn",
    "PersistentVolumeAccessMode": "ReadOnlyMany|ReadWriteMany|ReadWriteOnce|ReadWriteOncePod",
    "PersistentVolumeClaimModifyVolumeStatus": "InProgress|Infeasible|Pending",
    "PersistentVolumeClaimPhase": "Bound|Lost|Pending",
    "PersistentVolumeMode": "Block|Filesystem",
    "PersistentVolumePhase": "Available|Bound|Failed|Pending|Released",
    "PersistentVolumeReclaimPolicy": "Delete|Recycle|Retain",
    "PodFSGroupChangePolicy": "Always|OnRootMismatch",
    "PodPhase": "Failed|Pending|Running|Succeeded|Unknown",
    "PodQOSClass": "BestEffort|Burstable|Guaranteed",
    "PreemptionPolicy": "Never|PreemptLowerPriority",
    "ProcMountType": "Default|Unmasked",
    "Protocol": "SCTP|TCP|UDP",
    "PullPolicy": "Always|IfNotPresent|Never",
    "ResourceQuotaScope": "BestEffort|CrossNamespacePodAffinity|NotBestEffort|NotTerminating|PriorityClass"
    "|Terminating|VolumeAttributesClass",
    "RestartPolicy": "Always|Never|OnFailure",
    "ScopeSelectorOperator": "DoesNotExist|Exists|In|NotIn",
    "SeccompProfileType": "Localhost|RuntimeDefault|Unconfined",
    "ServiceAffinity": "ClientIP|None",
    "ServiceExternalTrafficPolicy": "Cluster|Local",
    "ServiceInternalTrafficPolicy": "Cluster|Local",
    "ServiceType": "ClusterIP|ExternalName|LoadBalancer|NodePort",
    "Signal": "|".join(f"SIG{name}" for name in _SIGNALS),
    "SupplementalGroupsPolicy": "Merge|Strict",
    "TaintEffect": "NoExecute|NoSchedule|PreferNoSchedule",
    "TerminationMessagePolicy": "FallbackToLogsOnError|File",
    "TolerationOperator": "Equal|Exists|Gt|Lt",
    "UnsatisfiableConstraintAction": "DoNotSchedule|ScheduleAnyway",
    "URIScheme": "HTTP|HTTPS",
    # admissionregistration, apiextensions
    "FailurePolicyType": "Fail|Ignore",
    "FieldValueErrorReason": "FieldValueDuplicate|FieldValueForbidden|FieldValueInvalid|FieldValueRequired",
    "MatchPolicyType": "Equivalent|Exact",
    "OperationType": "*|CONNECT|CREATE|DELETE|UPDATE",
    "PatchType": "ApplyConfiguration|JSONPatch",
    "ReinvocationPolicyType": "IfNeeded|Never",
    "ScopeType": "*|Cluster|Namespaced",
    "SideEffectClass": "None|NoneOnDryRun|Some|Unknown",
    "ValidationAction": "Audit|Deny|Warn",
    # apps, batch, policy
    "CompletionMode": "Indexed|NonIndexed",
    "ConcurrencyPolicy": "Allow|Forbid|Replace",
    "DaemonSetUpdateStrategyType": "OnDelete|RollingUpdate",
    "DeploymentStrategyType": "Recreate|RollingUpdate",
    "PodFailurePolicyAction": "Count|FailIndex|FailJob|Ignore",
    "PodFailurePolicyOnExitCodesOperator": "In|NotIn",
    "PodManagementPolicyType": "OrderedReady|Parallel",
    "PodReplacementPolicy": "Failed|TerminatingOrFailed",
    "StatefulSetUpdateStrategyType": "OnDelete|RollingUpdate",
    "UnhealthyPodEvictionPolicyType": "AlwaysAllow|IfHealthyBudget",
    # certificates, discovery, networking, resource, storage
    "AddressType": "FQDN|IPv4|IPv6",
    "AllocationConfigSource": "FromClaim|FromClass",
    "DeviceAllocationMode": "All|ExactCount",
    "DeviceTaintEffect": "NoExecute|NoSchedule|None",
    "DeviceTolerationOperator": "Equal|Exists",
    "KeyUsage": _USAGES,
    "PathType": "Exact|ImplementationSpecific|Prefix",
    "PolicyType": "Egress|Ingress",
    "VolumeBindingMode": "Immediate|WaitForFirstConsumer",
}
_ELSEWHERE = {"io.k8s.api.scheduling.v1.PriorityClass": {"preemptionPolicy": "v1.PreemptionPolicy"}}
"""Fields whose types are of another package than the definition."""
_VERSION = (
    "major",
    "minor",
    "gitVersion",
    "gitCommit",
    "gitTreeState",
    "buildDate",
    "goVersion",
    "compiler",
    "platform",
)
DEFAULTS: Mapping[str, object] = {
    "autoscaling.v1.ScaleSpec.replicas": 0,
    "apps.v1.StatefulSetStatus.availableReplicas": 0,
    "core.v1.AzureDiskVolumeSource.cachingMode": "ReadWrite",
    "core.v1.AzureDiskVolumeSource.fsType": "ext4",
    "core.v1.AzureDiskVolumeSource.kind": "Shared",
    "core.v1.AzureDiskVolumeSource.readOnly": False,
    "core.v1.ContainerPort.protocol": "TCP",
    "core.v1.FileKeySelector.optional": False,
    "core.v1.GRPCAction.service": "",
    "core.v1.ISCSIPersistentVolumeSource.iscsiInterface": "default",
    "core.v1.ISCSIVolumeSource.iscsiInterface": "default",
    "core.v1.NodeRuntimeHandler.name": "",
    **{
        f"core.v1.RBD{kind}VolumeSource.{key}": value
        for kind in ("", "Persistent")
        for key, value in (("keyring", "/etc/ceph/keyring"), ("pool", "rbd"), ("user", "admin"))
    },
    "core.v1.ReplicationControllerSpec.minReadySeconds": 0,
    "core.v1.ReplicationControllerSpec.replicas": 1,
    **{
        f"core.v1.ScaleIO{kind}VolumeSource.{key}": value
        for kind in ("", "Persistent")
        for key, value in (("fsType", "xfs"), ("storageMode", "ThinProvisioned"))
    },
    "core.v1.LocalObjectReference.name": "",
    **{f"core.v1.ConfigMap{kind}.name": "" for kind in ("EnvSource", "KeySelector", "Projection", "VolumeSource")},
    **{f"core.v1.Secret{kind}.name": "" for kind in ("EnvSource", "KeySelector", "Projection")},
    "core.v1.ServicePort.protocol": "TCP",
    "resource.v1.DeviceToleration.operator": "Equal",
    "io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent.type": "",
    "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIServiceList.metadata": {},
    **{f"io.k8s.apimachinery.pkg.version.Info.{key}": "" for key in _VERSION},
}
"""What fields are when nothing is said of them, beyond the zeros of what is always written."""


@cache
def choices(definition: str) -> Mapping[str, tuple[str, ...]]:
    """The texts that each field of a definition may have, for those that may not have any."""
    found = {}
    types = {**marks_of(definition).types, **_ELSEWHERE.get(definition, {})}
    for name, kind in types.items():
        texts = _TYPES.get(kind.rpartition(".")[2])
        if texts is not None:
            found[name] = tuple(texts.split("|"))
    return found
