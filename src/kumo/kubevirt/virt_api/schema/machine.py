"""VirtualMachine and what else holds a template of an instance: replica sets and presets."""

from __future__ import annotations

from kumo.kubevirt.virt_api.schema.devices import DISK
from kumo.kubevirt.virt_api.schema.domain import DOMAIN
from kumo.kubevirt.virt_api.schema.instance import (
    CHANGED_BLOCK_TRACKING,
    CONDITIONS,
    INSTANCE_SPEC,
    MIGRATED_VOLUMES,
    kind,
)
from kumo.kubevirt.virt_api.schema.scheduling import LABEL_SELECTOR
from kumo.kubevirt.virt_api.schema.types import (
    ANYTHING,
    BOOLEAN,
    INT32,
    INT64,
    INTEGER,
    STRING,
    TIME,
    atomic,
    items,
    mapping,
    nullable,
    record,
    said,
)
from kumo.kubevirt.virt_api.schema.volumes import DATA_VOLUME_TEMPLATES

TEMPLATE = record(metadata=nullable(ANYTHING), spec=INSTANCE_SPEC)
_MATCHER = record(
    inferFromVolume=STRING, inferFromVolumeFailurePolicy=STRING, kind=STRING, name=STRING, revisionName=STRING
)
_REFERENCE = nullable(
    record(
        controllerRevisionRef=record(name=STRING),
        inferFromVolume=STRING,
        inferFromVolumeFailurePolicy=STRING,
        kind=STRING,
        name=STRING,
    )
)
_VOLUME_SOURCE = record(
    dataVolume=record("name", hotpluggable=BOOLEAN, name=STRING),
    persistentVolumeClaim=record("claimName", claimName=STRING, hotpluggable=BOOLEAN, readOnly=BOOLEAN),
)
_VOLUME_REQUEST = record(
    addVolumeOptions=record(
        "disk name volumeSource", disk=DISK, dryRun=atomic(STRING), name=STRING, volumeSource=_VOLUME_SOURCE
    ),
    removeVolumeOptions=record("name", dryRun=atomic(STRING), name=STRING),
)

MACHINE_SPEC = record(
    "template",
    dataVolumeTemplates=DATA_VOLUME_TEMPLATES,
    instancetype=said("CPU and memory from an instance type.", _MATCHER),
    preference=said("Preferred devices and firmware.", _MATCHER),
    runStrategy=said("Always, RerunOnFailure, Manual, Halted or Once.", STRING),
    running=said("Deprecated: use runStrategy.", BOOLEAN),
    template=said("The instance to run.", TEMPLATE),
    updateVolumesStrategy=STRING,
)
MACHINE_STATUS = record(
    changedBlockTracking=CHANGED_BLOCK_TRACKING,
    conditions=CONDITIONS,
    created=said("Whether the instance exists.", BOOLEAN),
    desiredGeneration=INT64,
    instancetypeRef=_REFERENCE,
    memoryDumpRequest=nullable(
        record(
            "claimName phase",
            claimName=STRING,
            endTimestamp=TIME,
            fileName=STRING,
            message=STRING,
            phase=STRING,
            remove=BOOLEAN,
            startTimestamp=TIME,
        )
    ),
    observedGeneration=INT64,
    preferenceRef=_REFERENCE,
    printableStatus={**STRING, "default": "Stopped"},
    ready=said("Whether the instance is running and ready.", BOOLEAN),
    restoreInProgress=STRING,
    runStrategy=STRING,
    snapshotInProgress=STRING,
    startFailure=nullable(
        record(consecutiveFailCount=INTEGER, lastFailedVMIUID=STRING, retryAfterTimestamp=TIME),
    ),
    stateChangeRequests=items(record("action", action=STRING, data=mapping(STRING), uid=STRING)),
    volumeRequests=atomic(_VOLUME_REQUEST),
    volumeSnapshotStatuses=items(record("enabled name", enabled=BOOLEAN, name=STRING, reason=STRING)),
    volumeUpdateState=record(volumeMigrationState=record(migratedVolumes=MIGRATED_VOLUMES)),
)

MACHINE = said("A virtual machine, running or not.", kind(MACHINE_SPEC, MACHINE_STATUS))
REPLICA_SET = said(
    "A number of like virtual machine instances.",
    kind(
        record("selector template", paused=BOOLEAN, replicas=INT32, selector=LABEL_SELECTOR, template=TEMPLATE),
        nullable(record(conditions=CONDITIONS, labelSelector=STRING, readyReplicas=INT32, replicas=INT32)),
    ),
)
PRESET = said(
    "Deprecated: settings for instances with given labels.",
    kind(record("selector", domain=DOMAIN, selector=LABEL_SELECTOR), required=""),
)
