"""Instance types and preferences, `instancetype.kubevirt.io/v1beta1`, namespaced and for the whole cluster."""

from __future__ import annotations

from kumo.kubevirt.virt_api.schema.devices import BLOCK_SIZE, GPUS, HOST_DEVICES, TPM, VGPU_OPTIONS
from kumo.kubevirt.virt_api.schema.domain import (
    APIC,
    CPU_FEATURES,
    EFI,
    HUGEPAGES,
    HYPERV,
    IO_THREADS,
    LAUNCH_SECURITY,
    NUMA,
    REALTIME,
    TIMERS,
    UTC_OFFSET,
)
from kumo.kubevirt.virt_api.schema.instance import kind
from kumo.kubevirt.virt_api.schema.types import (
    BOOLEAN,
    EMPTY,
    ENABLED,
    INT32,
    INT64,
    INTEGER,
    QUANTITY,
    STRING,
    mapping,
    record,
    said,
)

_INSTANCETYPE_SPEC = record(
    "cpu memory",
    annotations=mapping(STRING),
    cpu=record(
        "guest",
        dedicatedCPUPlacement=BOOLEAN,
        guest=said("Number of virtual CPUs.", INT32),
        isolateEmulatorThread=BOOLEAN,
        maxSockets=INT32,
        model=STRING,
        numa=NUMA,
        realtime=REALTIME,
    ),
    gpus=GPUS,
    hostDevices=HOST_DEVICES,
    ioThreads=IO_THREADS,
    ioThreadsPolicy=STRING,
    launchSecurity=LAUNCH_SECURITY,
    memory=record(
        "guest",
        guest=said("Memory that the guest sees.", QUANTITY),
        hugepages=HUGEPAGES,
        maxGuest=QUANTITY,
        overcommitPercent={**INTEGER, "minimum": 0, "maximum": 100},
    ),
    nodeSelector=mapping(STRING),
    schedulerName=STRING,
)
_DEVICES = record(
    preferredAutoattachGraphicsDevice=BOOLEAN,
    preferredAutoattachInputDevice=BOOLEAN,
    preferredAutoattachMemBalloon=BOOLEAN,
    preferredAutoattachPodInterface=BOOLEAN,
    preferredAutoattachSerialConsole=BOOLEAN,
    preferredBlockMultiQueue=BOOLEAN,
    preferredCdromBus=STRING,
    preferredDisableHotplug=BOOLEAN,
    preferredDiskBlockSize=BLOCK_SIZE,
    preferredDiskBus=STRING,
    preferredDiskCache=STRING,
    preferredDiskDedicatedIoThread=BOOLEAN,
    preferredDiskIO=STRING,
    preferredInputBus=STRING,
    preferredInputType=STRING,
    preferredInterfaceMasquerade=EMPTY,
    preferredInterfaceModel=STRING,
    preferredLunBus=STRING,
    preferredNetworkInterfaceMultiQueue=BOOLEAN,
    preferredPanicDeviceModel=STRING,
    preferredRng=EMPTY,
    preferredSoundModel=STRING,
    preferredTPM=TPM,
    preferredUseVirtioTransitional=BOOLEAN,
    preferredVideoType=STRING,
    preferredVirtualGPUOptions=VGPU_OPTIONS,
)
_PREFERENCE_SPEC = record(
    annotations=mapping(STRING),
    clock=record(
        preferredClockOffset=record(timezone=STRING, utc=UTC_OFFSET),
        preferredTimer=TIMERS,
    ),
    cpu=record(
        preferredCPUFeatures=CPU_FEATURES,
        preferredCPUTopology=STRING,
        spreadOptions=record(across=STRING, ratio=INT32),
    ),
    devices=_DEVICES,
    features=record(
        preferredAcpi=ENABLED,
        preferredApic=APIC,
        preferredHyperv=HYPERV,
        preferredKvm=record(hidden=BOOLEAN),
        preferredPvspinlock=ENABLED,
        preferredSmm=ENABLED,
    ),
    firmware=record(
        preferredEfi=EFI,
        preferredUseBios=BOOLEAN,
        preferredUseBiosSerial=BOOLEAN,
        preferredUseEfi=BOOLEAN,
        preferredUseSecureBoot=BOOLEAN,
    ),
    machine=record(preferredMachineType=STRING),
    preferSpreadSocketToCoreRatio=INT32,
    preferredArchitecture=STRING,
    preferredLaunchSecurity=LAUNCH_SECURITY,
    preferredSubdomain=STRING,
    preferredTerminationGracePeriodSeconds=INT64,
    requirements=record(architecture=STRING, cpu=record("guest", guest=INT32), memory=record("guest", guest=QUANTITY)),
    volumes=record(preferredStorageClassName=STRING),
)

INSTANCETYPE = said("CPU, memory and what else sizes a virtual machine.", kind(_INSTANCETYPE_SPEC))
PREFERENCE = said("What a virtual machine gets where its own spec is silent.", kind(_PREFERENCE_SPEC))
