"""KubeVirt, the installation and its settings: the fields that kumo obeys, and the types of upstream's others.

Upstream's settings grow with every release, so what is not known here is kept rather than dropped.
"""

from __future__ import annotations

from kumo.kubevirt.virt_api.schema.instance import kind
from kumo.kubevirt.virt_api.schema.types import (
    ANYTHING,
    BOOLEAN,
    EMPTY,
    INT64,
    INTEGER,
    QUANTITY,
    STRING,
    UINT32,
    Schema,
    choice,
    items,
    mapping,
    record,
    said,
)


def _open(schema: Schema) -> Schema:
    """A record that may have more fields than it lists."""
    return {**schema, "x-kubernetes-preserve-unknown-fields": True}


_PULL_POLICY = choice("Always", "IfNotPresent", "Never")
_ARCHITECTURE = record(emulatedMachines=items(STRING), machineType=STRING, ovmfPath=STRING)
_DEVELOPER = record(
    clusterProfiler=BOOLEAN,
    cpuAllocationRatio=said(
        "How many virtual CPUs share a physical one: a guest's pod requests its CPUs divided by this. Default 10.",
        INTEGER,
    ),
    disabledFeatureGates=items(STRING),
    diskVerification=record("memoryLimit", memoryLimit=QUANTITY),
    featureGates=said("Features to switch on.", items(STRING)),
    logVerbosity=record(
        nodeVerbosity=mapping(INTEGER),
        virtAPI=INTEGER,
        virtController=INTEGER,
        virtHandler=INTEGER,
        virtLauncher=INTEGER,
        virtOperator=INTEGER,
        virtSynchronizationController=INTEGER,
    ),
    memoryOvercommit=said(
        "Percent of the requested memory that guests get by default; 200 lets pods request half of it.", INTEGER
    ),
    minimumClusterTSCFrequency=INT64,
    minimumReservePVCBytes=INT64,
    nodeSelectors=mapping(STRING),
    pvcTolerateLessSpaceUpToPercent=INTEGER,
    useEmulation=said("Run guests in software where there is no usable KVM.", BOOLEAN),
)
_NETWORK = record(
    binding=mapping(ANYTHING),
    defaultNetworkInterface=said(
        "The binding of a guest that asks for none: bridge (the default) or masquerade.", STRING
    ),
    permitBridgeInterfaceOnPodNetwork=BOOLEAN,
    permitSlirpInterface=BOOLEAN,
)
_MIGRATIONS = record(
    allowAutoConverge=BOOLEAN,
    allowPostCopy=BOOLEAN,
    allowWorkloadDisruption=BOOLEAN,
    bandwidthPerMigration=QUANTITY,
    completionTimeoutPerGiB=INT64,
    disableTLS=BOOLEAN,
    matchSELinuxLevelOnMigration=BOOLEAN,
    maxDowntimeMs=INT64,
    network=STRING,
    nodeDrainTaintKey=STRING,
    parallelMigrationsPerCluster=UINT32,
    parallelOutboundMigrationsPerNode=UINT32,
    progressTimeout=INT64,
    unsafeMigrationOverride=BOOLEAN,
    utilityVolumesTimeout=INT64,
)
CONFIGURATION = record(
    additionalGuestMemoryOverheadRatio=said(
        "A factor, as a string, for the memory that a guest's pod requests beside the guest's own.", STRING
    ),
    architectureConfiguration=record(
        amd64=_ARCHITECTURE, arm64=_ARCHITECTURE, defaultArchitecture=STRING, ppc64le=_ARCHITECTURE, s390x=_ARCHITECTURE
    ),
    cpuModel=said("The CPU model of guests that name none. Default host-model.", STRING),
    cpuRequest=said("What the pods of guests request that name no CPUs. Default 100m.", QUANTITY),
    defaultRuntimeClass=STRING,
    developerConfiguration=said("Settings for development and tests, feature gates among them.", _open(_DEVELOPER)),
    emulatedMachines=items(STRING),
    evictionStrategy=said("What becomes of guests when their node is drained.", STRING),
    imagePullPolicy=_PULL_POLICY,
    liveUpdateConfiguration=record(maxCpuSockets=UINT32, maxGuest=QUANTITY, maxHotplugRatio=UINT32),
    machineType=STRING,
    memBalloonStatsPeriod=UINT32,
    migrations=_open(_MIGRATIONS),
    minCPUModel=STRING,
    network=said("Defaults and permissions of guests' networks.", _open(_NETWORK)),
    obsoleteCPUModels=mapping(BOOLEAN),
    ovmfPath=STRING,
    selinuxLauncherType=STRING,
    supportedGuestAgentVersions=items(STRING),
    virtualMachineInstancesPerNode=INTEGER,
    virtualMachineOptions=record(disableFreePageReporting=EMPTY, disableSerialConsoleLog=EMPTY),
    vmRolloutStrategy=choice("Stage", "LiveUpdate"),
    vmStateStorageClass=STRING,
)
KUBEVIRT = said(
    "The KubeVirt installation and its settings.",
    kind(
        _open(
            record(
                certificateRotateStrategy=ANYTHING,
                configuration=said("The settings; a change is obeyed at once.", _open(CONFIGURATION)),
                customizeComponents=ANYTHING,
                imagePullPolicy=_PULL_POLICY,
                imagePullSecrets=items(ANYTHING),
                imageRegistry=STRING,
                imageTag=STRING,
                workloadUpdateStrategy=ANYTHING,
            )
        ),
        ANYTHING,
    ),
)
