"""What is said of columns: the words of the field that each shows, from the schema.

A column that shows no one field is described by its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from kumo.api.schema.definitions import load
from kumo.kubernetes.apiserver.tables.columns import Columns

_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
FIELDS = {
    "pods": "IP=core.v1.PodStatus.podIP|Node=core.v1.PodSpec.nodeName"
    "|Nominated Node=core.v1.PodStatus.nominatedNodeName|Readiness Gates=core.v1.PodSpec.readinessGates",
    "replicationcontrollers": "Desired=core.v1.ReplicationControllerSpec.replicas"
    "|Current=core.v1.ReplicationControllerStatus.replicas|Ready=core.v1.ReplicationControllerStatus.readyReplicas"
    "|Selector=core.v1.ReplicationControllerSpec.selector",
    "replicasets.apps": "Desired=apps.v1.ReplicaSetSpec.replicas|Current=apps.v1.ReplicaSetStatus.replicas"
    "|Ready=apps.v1.ReplicaSetStatus.readyReplicas|Selector=apps.v1.ReplicaSetSpec.selector",
    "daemonsets.apps": "Desired=apps.v1.DaemonSetStatus.desiredNumberScheduled"
    "|Current=apps.v1.DaemonSetStatus.currentNumberScheduled|Ready=apps.v1.DaemonSetStatus.numberReady"
    "|Up-to-date=apps.v1.DaemonSetStatus.updatedNumberScheduled|Available=apps.v1.DaemonSetStatus.numberAvailable"
    "|Node Selector=core.v1.PodSpec.nodeSelector|Selector=apps.v1.DaemonSetSpec.selector",
    "deployments.apps": "Up-to-date=apps.v1.DeploymentStatus.updatedReplicas"
    "|Available=apps.v1.DeploymentStatus.availableReplicas|Selector=apps.v1.DeploymentSpec.selector",
    "controllerrevisions.apps": "Revision=apps.v1.ControllerRevision.revision",
    "jobs.batch": "Completions=batch.v1.JobStatus.succeeded|Selector=batch.v1.JobSpec.selector",
    "cronjobs.batch": "Schedule=batch.v1.CronJobSpec.schedule|Timezone=batch.v1.CronJobSpec.timeZone"
    "|Suspend=batch.v1.CronJobSpec.suspend|Active=batch.v1.CronJobStatus.active"
    "|Last Schedule=batch.v1.CronJobStatus.lastScheduleTime|Selector=batch.v1.JobSpec.selector",
    "horizontalpodautoscalers.autoscaling": "Reference=autoscaling.v2.HorizontalPodAutoscalerSpec.scaleTargetRef"
    "|Targets=autoscaling.v2.HorizontalPodAutoscalerSpec.metrics"
    "|MinPods=autoscaling.v2.HorizontalPodAutoscalerSpec.minReplicas"
    "|MaxPods=autoscaling.v2.HorizontalPodAutoscalerSpec.maxReplicas"
    "|Replicas=autoscaling.v2.HorizontalPodAutoscalerStatus.currentReplicas",
    "services": "Type=core.v1.ServiceSpec.type|Cluster-IP=core.v1.ServiceSpec.clusterIP"
    "|External-IP=core.v1.ServiceSpec.externalIPs|Port(s)=core.v1.ServiceSpec.ports"
    "|Selector=core.v1.ServiceSpec.selector",
    "endpoints": "Endpoints=core.v1.Endpoints.subsets",
    "endpointslices.discovery.k8s.io": "AddressType=discovery.v1.EndpointSlice.addressType"
    "|Ports=discovery.v1.EndpointSlice.ports|Endpoints=discovery.v1.EndpointSlice.endpoints",
    "networkpolicies.networking.k8s.io": "Pod-Selector=networking.v1.NetworkPolicySpec.podSelector",
    "ipaddresses.networking.k8s.io": "ParentRef=networking.v1.IPAddressSpec.parentRef",
    "servicecidrs.networking.k8s.io": "CIDRs=networking.v1.ServiceCIDRSpec.cidrs",
    "nodes": "Version=core.v1.NodeSystemInfo.kubeletVersion|Internal-IP=core.v1.NodeStatus.addresses"
    "|External-IP=core.v1.NodeStatus.addresses|OS-Image=core.v1.NodeSystemInfo.osImage"
    "|Kernel-Version=core.v1.NodeSystemInfo.kernelVersion"
    "|Container-Runtime=core.v1.NodeSystemInfo.containerRuntimeVersion",
    "events": "Last Seen=core.v1.Event.lastTimestamp|Type=core.v1.Event.type|Reason=core.v1.Event.reason"
    "|Object=core.v1.Event.involvedObject|Subobject=core.v1.ObjectReference.fieldPath|Source=core.v1.Event.source"
    "|Message=core.v1.Event.message|First Seen=core.v1.Event.firstTimestamp|Count=core.v1.Event.count",
    "secrets": "Type=core.v1.Secret.type|Data=core.v1.Secret.data",
    "configmaps": "Data=core.v1.ConfigMap.data",
    "persistentvolumes": "Capacity=core.v1.PersistentVolumeSpec.capacity"
    "|Access Modes=core.v1.PersistentVolumeSpec.accessModes"
    "|Reclaim Policy=core.v1.PersistentVolumeSpec.persistentVolumeReclaimPolicy"
    "|Status=core.v1.PersistentVolumeStatus.phase|Claim=core.v1.PersistentVolumeSpec.claimRef"
    "|Reason=core.v1.PersistentVolumeStatus.reason|VolumeMode=core.v1.PersistentVolumeSpec.volumeMode",
    "persistentvolumeclaims": "Status=core.v1.PersistentVolumeClaimStatus.phase"
    "|Volume=core.v1.PersistentVolumeClaimSpec.volumeName|Capacity=core.v1.PersistentVolumeClaimStatus.capacity"
    "|Access Modes=core.v1.PersistentVolumeClaimStatus.accessModes"
    "|VolumeMode=core.v1.PersistentVolumeClaimSpec.volumeMode",
    "rolebindings.rbac.authorization.k8s.io": "Role=rbac.v1.RoleBinding.roleRef",
    "clusterrolebindings.rbac.authorization.k8s.io": "Role=rbac.v1.ClusterRoleBinding.roleRef",
    "certificatesigningrequests.certificates.k8s.io": ""
    "SignerName=certificates.v1.CertificateSigningRequestSpec.signerName"
    "|Requestor=certificates.v1.CertificateSigningRequestSpec.request"
    "|RequestedDuration=certificates.v1.CertificateSigningRequestSpec.expirationSeconds"
    "|Condition=certificates.v1.CertificateSigningRequestStatus.conditions",
    "leases.coordination.k8s.io": "Holder=coordination.v1.LeaseSpec.holderIdentity",
    "storageclasses.storage.k8s.io": "Provisioner=storage.v1.StorageClass.provisioner"
    "|ReclaimPolicy=storage.v1.StorageClass.reclaimPolicy|VolumeBindingMode=storage.v1.StorageClass.volumeBindingMode"
    "|AllowVolumeExpansion=storage.v1.StorageClass.allowVolumeExpansion",
    "volumeattributesclasses.storage.k8s.io": "DriverName=storage.v1.VolumeAttributesClass.driverName",
    "volumeattachments.storage.k8s.io": "Attacher=storage.v1.VolumeAttachmentSpec.attacher"
    "|PV=storage.v1.VolumeAttachmentSource.persistentVolumeName|Node=storage.v1.VolumeAttachmentSpec.nodeName"
    "|Attached=storage.v1.VolumeAttachmentStatus.attached",
    "csidrivers.storage.k8s.io": "AttachRequired=storage.v1.CSIDriverSpec.attachRequired"
    "|PodInfoOnMount=storage.v1.CSIDriverSpec.podInfoOnMount"
    "|StorageCapacity=storage.v1.CSIDriverSpec.storageCapacity|TokenRequests=storage.v1.CSIDriverSpec.tokenRequests"
    "|RequiresRepublish=storage.v1.CSIDriverSpec.requiresRepublish|Modes=storage.v1.CSIDriverSpec.volumeLifecycleModes",
    "priorityclasses.scheduling.k8s.io": "Value=scheduling.v1.PriorityClass.value"
    "|Global-Default=scheduling.v1.PriorityClass.globalDefault"
    "|PreemptionPolicy=scheduling.v1.PriorityClass.preemptionPolicy",
    "flowschemas.flowcontrol.apiserver.k8s.io": "PriorityLevel=flowcontrol.v1.PriorityLevelConfigurationReference.name"
    "|MatchingPrecedence=flowcontrol.v1.FlowSchemaSpec.matchingPrecedence"
    "|DistinguisherMethod=flowcontrol.v1.FlowSchemaSpec.distinguisherMethod",
    "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io": ""
    "Type=flowcontrol.v1.PriorityLevelConfigurationSpec.type"
    "|NominalConcurrencyShares=flowcontrol.v1.LimitedPriorityLevelConfiguration.nominalConcurrencyShares"
    "|Queues=flowcontrol.v1.QueuingConfiguration.queues|HandSize=flowcontrol.v1.QueuingConfiguration.handSize"
    "|QueueLengthLimit=flowcontrol.v1.QueuingConfiguration.queueLengthLimit",
    "resourceslices.resource.k8s.io": "Node=resource.v1.ResourceSliceSpec.nodeName"
    "|Driver=resource.v1.ResourceSliceSpec.driver|Pool=resource.v1.ResourcePool.name",
}


def described(tables: Mapping[str, Columns]) -> dict[str, Columns]:
    """The same columns with their descriptions."""
    texts = load().descriptions()
    meta = texts[_META]
    found: dict[str, Columns] = {}
    for resource, columns in tables.items():
        own = {"Name": meta["name"], "Age": meta["creationTimestamp"]}
        known = FIELDS.get("events" if resource.startswith("events") else resource, "")
        for part in filter(None, known.split("|")):
            name, _, path = part.partition("=")
            definition, _, field = path.rpartition(".")
            own[name] = texts.get(f"io.k8s.api.{definition}", {}).get(field, "")
        definitions = tuple({**d, "description": own.get(d["name"]) or d["description"]} for d in columns.definitions)
        found[resource] = replace(columns, definitions=definitions)
    return found
