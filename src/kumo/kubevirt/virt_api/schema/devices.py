"""Devices of a domain: disks, interfaces and the rest."""

from __future__ import annotations

from kumo.kubevirt.virt_api.schema.types import (
    BOOLEAN,
    EMPTY,
    ENABLED,
    INT32,
    INTEGER,
    STRING,
    atomic,
    items,
    record,
    said,
)

BLOCK_SIZE = record(
    custom=record(discardGranularity=INTEGER, logical=INTEGER, physical=INTEGER),
    matchVolume=ENABLED,
)
DISK = record(
    "name",
    blockSize=BLOCK_SIZE,
    bootOrder=said("Place in the boot sequence, from 1.", INTEGER),
    cache=STRING,
    cdrom=record(bus=STRING, readonly=BOOLEAN, tray=STRING),
    changedBlockTracking=BOOLEAN,
    dedicatedIOThread=BOOLEAN,
    disk=record(bus=STRING, pciAddress=STRING, readonly=BOOLEAN),
    errorPolicy=STRING,
    io=STRING,
    lun=record(bus=STRING, readonly=BOOLEAN, reservation=BOOLEAN),
    name=said("Name of the volume.", STRING),
    serial=STRING,
    shareable=BOOLEAN,
    tag=STRING,
)
_INTERFACE = record(
    "name",
    acpiIndex=INTEGER,
    binding=record("name", name=STRING),
    bootOrder=INTEGER,
    bridge=said("The guest takes the pod's address.", EMPTY),
    dhcpOptions=record(
        bootFileName=STRING,
        ntpServers=items(STRING),
        privateOptions=items(record("option value", option=INTEGER, value=STRING)),
        tftpServerName=STRING,
    ),
    macAddress=STRING,
    macvtap=EMPTY,
    masquerade=said("The guest is behind the pod's address (NAT).", EMPTY),
    model=STRING,
    name=said("Name of the network.", STRING),
    passt=EMPTY,
    passtBinding=EMPTY,
    pciAddress=STRING,
    portRanges=atomic(record("end protocol start", end=INT32, protocol=STRING, start=INT32)),
    ports=items(record("port", name=STRING, port=INT32, protocol=STRING)),
    slirp=EMPTY,
    sriov=EMPTY,
    state=STRING,
    tag=STRING,
)
VGPU_OPTIONS = record(display=record(enabled=BOOLEAN, ramFB=ENABLED))
GPUS = atomic(
    record(
        "name",
        claimName=STRING,
        deviceName=STRING,
        name=STRING,
        requestName=STRING,
        tag=STRING,
        virtualGPUOptions=VGPU_OPTIONS,
    )
)
HOST_DEVICES = atomic(record("name", claimName=STRING, deviceName=STRING, name=STRING, requestName=STRING, tag=STRING))
TPM = record(enabled=BOOLEAN, persistent=BOOLEAN)

DEVICES = record(
    autoattachGraphicsDevice=BOOLEAN,
    autoattachInputDevice=BOOLEAN,
    autoattachMemBalloon=BOOLEAN,
    autoattachPodInterface=BOOLEAN,
    autoattachSerialConsole=BOOLEAN,
    autoattachVSOCK=BOOLEAN,
    blockMultiQueue=BOOLEAN,
    clientPassthrough=EMPTY,
    disableHotplug=BOOLEAN,
    disks=items(DISK, maxItems=256),
    downwardMetrics=EMPTY,
    filesystems=atomic(record("name virtiofs", name=STRING, virtiofs=EMPTY)),
    gpus=GPUS,
    hostDevices=HOST_DEVICES,
    inputs=items(record("name type", bus=STRING, name=STRING, type=STRING)),
    interfaces=items(_INTERFACE, maxItems=256),
    logSerialConsole=BOOLEAN,
    networkInterfaceMultiqueue=BOOLEAN,
    panicDevices=items(record(model=STRING)),
    rng=EMPTY,
    sound=record("name", model=STRING, name=STRING),
    tpm=TPM,
    useVirtioTransitional=BOOLEAN,
    video=record(type=STRING),
    watchdog=record("name", diag288=record(action=STRING), i6300esb=record(action=STRING), name=STRING),
)
