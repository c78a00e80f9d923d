"""Labels, annotations, finalizers, phases and identities of `kubevirt.io/v1`, under upstream's names.

Source: `staging/src/kubevirt.io/api/core/v1/types.go` and the ServiceAccounts of virt-operator.
"""

from __future__ import annotations

from kumo.api.resources import GVR

GROUP = "kubevirt.io"
VERSION = "v1"
API_VERSION = "kubevirt.io/v1"
SUBRESOURCE_GROUP = "subresources.kubevirt.io"
SUBRESOURCE_VERSIONS = ("v1", "v1alpha3")
INSTALL_NAMESPACE = "kubevirt"
GIT_VERSION = "v1.9.0"
"""The release of KubeVirt whose behaviour is presented."""

MIGRATIONS = GVR(GROUP, VERSION, "virtualmachineinstancemigrations")
REPLICASETS = GVR(GROUP, VERSION, "virtualmachineinstancereplicasets")
PREFERENCES = GVR("instancetype.kubevirt.io", "v1beta1", "virtualmachinepreferences")
CLUSTER_PREFERENCES = GVR("instancetype.kubevirt.io", "v1beta1", "virtualmachineclusterpreferences", False)

VM_FINALIZER = "kubevirt.io/virtualMachineControllerFinalize"
VMI_FINALIZER = "kubevirt.io/foregroundDeleteVirtualMachine"

APP_LABEL = "kubevirt.io"
CREATED_BY_LABEL = "kubevirt.io/created-by"
VM_NAME_LABEL = "vm.kubevirt.io/name"
VMI_ID_LABEL = "vmi.kubevirt.io/id"
NODE_NAME_LABEL = "kubevirt.io/nodeName"
SCHEDULABLE_LABEL = "kubevirt.io/schedulable"
HEARTBEAT_ANNOTATION = "kubevirt.io/heartbeat"
HANDLER_ADDRESS_ANNOTATION = "kumo.dev/virt-handler-address"
"""On a Node: `host:port` of its virt-handler (kumo's own; upstream looks for the virt-handler pod)."""

DOMAIN_ANNOTATION = "kubevirt.io/domain"
OVERHEAD_ANNOTATION = "kubevirt.io/memory-overhead-bytes"
MIGRATION_TRANSPORT_ANNOTATION = "kubevirt.io/migrationTransportUnix"
PCI_TOPOLOGY_ANNOTATION = "kubevirt.io/pci-topology-version"
PCI_TOPOLOGY_VERSION = "v3"
VM_GENERATION_ANNOTATION = "kubevirt.io/vm-generation"
LATEST_API_ANNOTATION = "kubevirt.io/latest-observed-api-version"
STORAGE_API_ANNOTATION = "kubevirt.io/storage-observed-api-version"
INSTANCETYPE_ANNOTATION = "kubevirt.io/instancetype-name"
CLUSTER_INSTANCETYPE_ANNOTATION = "kubevirt.io/cluster-instancetype-name"
PREFERENCE_ANNOTATION = "kubevirt.io/preference-name"
CLUSTER_PREFERENCE_ANNOTATION = "kubevirt.io/cluster-preference-name"

UNPAUSED_GATE = "kubevirt.io/virtual-machine-unpaused"

PENDING = "Pending"
SCHEDULING = "Scheduling"
SCHEDULED = "Scheduled"
RUNNING = "Running"
SUCCEEDED = "Succeeded"
FAILED = "Failed"
WAITING_FOR_SYNC = "WaitingForSync"
FINAL_PHASES = frozenset({SUCCEEDED, FAILED})

API_USER = "system:serviceaccount:kubevirt:kubevirt-apiserver"
CONTROLLER_USER = "system:serviceaccount:kubevirt:kubevirt-controller"
HANDLER_USER = "system:serviceaccount:kubevirt:kubevirt-handler"
COMPONENT_USERS = frozenset({API_USER, CONTROLLER_USER, HANDLER_USER})
"""Only these write VMI statuses and specs; everybody else's changes of them are reverted or refused."""

NODE_USER_PREFIX = "system:node:"
"""kumo's node process is one identity: what comes from a node's kubelet certificate may be virt-handler."""

RESTRICTED_LABELS = frozenset(
    {
        CREATED_BY_LABEL,
        "kubevirt.io/migrationJobUID",
        NODE_NAME_LABEL,
        "kubevirt.io/migrationTargetNodeName",
        SCHEDULABLE_LABEL,
        "kubevirt.io/install-strategy",
    }
)
"""Labels of a VMI that only KubeVirt's own components may set or change."""


def is_component(user: str) -> bool:
    """Whether that user name is one of KubeVirt's own components."""
    return user in COMPONENT_USERS or user.startswith(NODE_USER_PREFIX)
