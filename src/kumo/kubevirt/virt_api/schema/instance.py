"""VirtualMachineInstance and VirtualMachineInstanceMigration, `kubevirt.io/v1`."""

from __future__ import annotations

from kumo.kubevirt.virt_api.schema.domain import DOMAIN
from kumo.kubevirt.virt_api.schema.scheduling import AFFINITY, DNS_CONFIG, PROBE, TOLERATIONS, TOPOLOGY_SPREAD
from kumo.kubevirt.virt_api.schema.types import (
    ANYTHING,
    BOOLEAN,
    EMPTY,
    INT32,
    INT64,
    NULLABLE_TIME,
    QUANTITY,
    STRING,
    TIME,
    UINT32,
    Schema,
    atomic,
    items,
    keyed,
    mapping,
    nullable,
    record,
    said,
)
from kumo.kubevirt.virt_api.schema.volumes import ACCESS_CREDENTIALS, NETWORKS, UTILITY_VOLUMES, VOLUMES

CONDITIONS = items(
    record(
        "status type",
        lastProbeTime=NULLABLE_TIME,
        lastTransitionTime=NULLABLE_TIME,
        message=STRING,
        reason=STRING,
        status=STRING,
        type=STRING,
    )
)

INSTANCE_SPEC = record(
    "domain",
    accessCredentials=ACCESS_CREDENTIALS,
    affinity=AFFINITY,
    architecture=STRING,
    dnsConfig=DNS_CONFIG,
    dnsPolicy=STRING,
    domain=said("The virtual hardware.", DOMAIN),
    evictionStrategy=said("What happens when its node is drained.", STRING),
    hostname=STRING,
    livenessProbe=PROBE,
    networks=said("Networks that the interfaces are connected to.", NETWORKS),
    nodeSelector=mapping(STRING),
    priorityClassName=STRING,
    readinessProbe=PROBE,
    resourceClaims=keyed(
        record("name", name=STRING, resourceClaimName=STRING, resourceClaimTemplateName=STRING), "name"
    ),
    schedulerName=STRING,
    serviceAccountName=STRING,
    startStrategy=said("Paused: start the instance paused.", STRING),
    subdomain=STRING,
    terminationGracePeriodSeconds=said("Seconds that the guest gets to shut down.", INT64),
    tolerations=TOLERATIONS,
    topologySpreadConstraints=TOPOLOGY_SPREAD,
    utilityVolumes=UTILITY_VOLUMES,
    volumes=said("Where the disks' contents come from.", VOLUMES),
)

_CLAIM_INFO = record(
    accessModes=atomic(STRING),
    capacity=mapping(QUANTITY),
    claimName=STRING,
    filesystemOverhead=STRING,
    preallocated=BOOLEAN,
    requests=mapping(QUANTITY),
    volumeMode=STRING,
)
CHANGED_BLOCK_TRACKING = nullable(record("state", backupStatus=nullable(ANYTHING), state=STRING))
MIGRATED_VOLUMES = atomic(
    record("volumeName", destinationPVCInfo=_CLAIM_INFO, sourcePVCInfo=_CLAIM_INFO, volumeName=STRING)
)
_CHECKSUM = record(checksum=UINT32)
_PHASES = atomic(record(phase=STRING, phaseTransitionTimestamp=TIME))
_SIDE = {
    "domainName": STRING,
    "domainNamespace": STRING,
    "migrationUID": STRING,
    "node": STRING,
    "persistentStatePVCName": STRING,
    "pod": STRING,
    "selinuxContext": STRING,
    "syncAddress": STRING,
    "virtualMachineInstanceUID": STRING,
}
MIGRATION_STATE = record(
    abortRequested=BOOLEAN,
    abortStatus=STRING,
    completed=BOOLEAN,
    endTimestamp=NULLABLE_TIME,
    failed=BOOLEAN,
    failureReason=STRING,
    migrationConfiguration=ANYTHING,
    migrationNetworkType=STRING,
    migrationPolicyName=STRING,
    migrationUid=STRING,
    mode=STRING,
    sourceNode=STRING,
    sourcePersistentStatePVCName=STRING,
    sourcePod=STRING,
    sourceState=record(nodeSelectors=mapping(STRING), **_SIDE),
    startTimestamp=NULLABLE_TIME,
    targetAttachmentPodUID=STRING,
    targetCPUSet=atomic(INT64),
    targetDirectMigrationNodePorts=mapping(INT64),
    targetMemoryOverhead=QUANTITY,
    targetNode=STRING,
    targetNodeAddress=STRING,
    targetNodeDomainDetected=BOOLEAN,
    targetNodeDomainReadyTimestamp=TIME,
    targetNodeTopology=STRING,
    targetPersistentStatePVCName=STRING,
    targetPod=STRING,
    targetState=record(
        attachmentPodUID=STRING,
        cpuSet=atomic(INT64),
        directMigrationNodePorts=mapping(INT64),
        domainDetected=BOOLEAN,
        domainReadyTimestamp=TIME,
        nodeAddress=STRING,
        nodeTopology=STRING,
        **_SIDE,
    ),
)
_VOLUME_STATUS = atomic(
    record(
        "name target",
        containerDiskVolume=_CHECKSUM,
        hotplugVolume=record(attachPodName=STRING, attachPodUID=STRING),
        memoryDumpVolume=record(claimName=STRING, endTimestamp=TIME, startTimestamp=TIME, targetFileName=STRING),
        message=STRING,
        name=STRING,
        persistentVolumeClaimInfo=_CLAIM_INFO,
        phase=STRING,
        reason=STRING,
        size=INT64,
        target=STRING,
    )
)
_INTERFACES = items(
    record(
        infoSource=STRING,
        interfaceName=STRING,
        ipAddress=STRING,
        ipAddresses=items(STRING),
        linkState=STRING,
        mac=STRING,
        name=STRING,
        podInterfaceName=STRING,
        queueCount=INT32,
    )
)
_GUEST_OS = record(
    id=STRING,
    kernelRelease=STRING,
    kernelVersion=STRING,
    machine=STRING,
    name=STRING,
    prettyName=STRING,
    version=STRING,
    versionId=STRING,
)

INSTANCE_STATUS = record(
    VSOCKCID=UINT32,
    activePods=mapping(STRING),
    changedBlockTracking=CHANGED_BLOCK_TRACKING,
    conditions=CONDITIONS,
    currentCPUTopology=record(cores=INT32, sockets=INT32, threads=INT32),
    evacuationNodeName=STRING,
    fsFreezeStatus=STRING,
    guestOSInfo=_GUEST_OS,
    interfaces=_INTERFACES,
    kernelBootStatus=record(initrdInfo=_CHECKSUM, kernelInfo=_CHECKSUM),
    launcherContainerImageVersion=STRING,
    machine=record(type=STRING),
    memory=record(guestAtBoot=QUANTITY, guestCurrent=QUANTITY, guestRequested=QUANTITY, memoryOverhead=QUANTITY),
    migratedVolumes=MIGRATED_VOLUMES,
    migrationMethod=STRING,
    migrationState=MIGRATION_STATE,
    migrationTransport=STRING,
    nodeName=STRING,
    phase=STRING,
    phaseTransitionTimestamps=_PHASES,
    qosClass=STRING,
    reason=STRING,
    runtimeUser=INT64,
    selinuxContext=STRING,
    topologyHints=record(tscFrequency=INT64),
    virtualMachineRevisionName=STRING,
    volumeStatus=_VOLUME_STATUS,
)


def kind(spec: Schema, status: Schema | None = None, *, required: str = "spec") -> Schema:
    """The schema of a whole object with that spec and status."""
    properties: dict[str, Schema] = {"apiVersion": STRING, "kind": STRING, "metadata": EMPTY, "spec": spec}
    if status is not None:
        properties["status"] = status
    return record(required, **properties)


INSTANCE = said("A running virtual machine.", kind(INSTANCE_SPEC, INSTANCE_STATUS))
MIGRATION = said(
    "The move of a virtual machine instance to another node.",
    kind(
        record(
            addedNodeSelector=mapping(STRING),
            priority=STRING,
            receive=record("migrationID", migrationID=STRING),
            sendTo=record("connectURL migrationID", connectURL=STRING, migrationID=STRING),
            vmiName=STRING,
        ),
        record(
            conditions=CONDITIONS,
            migrationState=MIGRATION_STATE,
            phase=STRING,
            phaseTransitionTimestamps=_PHASES,
            synchronizationAddresses=atomic(STRING),
        ),
    ),
)
