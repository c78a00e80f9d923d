"""The domain of a VMI: CPU, memory, firmware, features, clock, devices."""

from __future__ import annotations

from kumo.kubevirt.virt_api.schema.devices import DEVICES
from kumo.kubevirt.virt_api.schema.types import (
    BOOLEAN,
    EMPTY,
    ENABLED,
    INT32,
    INTEGER,
    QUANTITY,
    STRING,
    Schema,
    choice,
    items,
    mapping,
    record,
    said,
)

_TIMER = record(present=BOOLEAN, tickPolicy=STRING)
TIMERS = record(
    hpet=_TIMER,
    hyperv=record(present=BOOLEAN),
    kvm=record(present=BOOLEAN),
    pit=_TIMER,
    rtc=record(present=BOOLEAN, tickPolicy=STRING, track=STRING),
)
UTC_OFFSET = record(offsetSeconds=INTEGER)
CPU_FEATURES = items(record("name", name=STRING, policy=STRING))
NUMA = record(guestMappingPassthrough=EMPTY)
REALTIME = record(mask=STRING)
CPU = record(
    cores=INT32,
    dedicatedCpuPlacement=BOOLEAN,
    features=CPU_FEATURES,
    isolateEmulatorThread=BOOLEAN,
    maxSockets=INT32,
    model=STRING,
    numa=NUMA,
    realtime=REALTIME,
    sockets=INT32,
    threads=INT32,
)
APIC = record(enabled=BOOLEAN, endOfInterrupt=BOOLEAN)
HYPERV = record(
    evmcs=ENABLED,
    frequencies=ENABLED,
    ipi=ENABLED,
    reenlightenment=ENABLED,
    relaxed=ENABLED,
    reset=ENABLED,
    runtime=ENABLED,
    spinlocks=record(enabled=BOOLEAN, spinlocks=INT32),
    synic=ENABLED,
    synictimer=record(direct=ENABLED, enabled=BOOLEAN),
    tlbflush=record(direct=ENABLED, enabled=BOOLEAN, extended=ENABLED),
    vapic=ENABLED,
    vendorid=record(enabled=BOOLEAN, vendorid=STRING),
    vpindex=ENABLED,
)
_FEATURES = record(
    acpi=ENABLED,
    apic=APIC,
    hyperv=HYPERV,
    hypervPassthrough=ENABLED,
    kvm=record(hidden=BOOLEAN),
    pvspinlock=ENABLED,
    smm=ENABLED,
)
EFI = record(persistent=BOOLEAN, secureBoot=BOOLEAN)
_FIRMWARE = record(
    acpi=record(msdmNameRef=STRING, slicNameRef=STRING),
    bootloader=record(bios=record(useSerial=BOOLEAN), efi=EFI),
    kernelBoot=record(
        container=record(
            "image",
            image=STRING,
            imagePullPolicy=STRING,
            imagePullSecret=STRING,
            initrdPath=STRING,
            kernelPath=STRING,
        ),
        kernelArgs=STRING,
    ),
    serial=STRING,
    uuid=STRING,
)
LAUNCH_SECURITY = record(
    sev=record(attestation=EMPTY, dhCert=STRING, policy=record(encryptedState=BOOLEAN), session=STRING),
    snp=EMPTY,
    tdx=EMPTY,
)
HUGEPAGES = record(pageSize=STRING)
IO_THREADS = record(supplementalPoolThreadCount=INT32)
_CLOCK: Schema = {
    **record(timer=TIMERS, timezone=STRING, utc=UTC_OFFSET),
    "x-kubernetes-preserve-unknown-fields": True,
}

DOMAIN = record(
    "devices",
    chassis=record(asset=STRING, manufacturer=STRING, serial=STRING, sku=STRING, version=STRING),
    clock=_CLOCK,
    cpu=said("Virtual CPUs: topology, model, features.", CPU),
    devices=said("Disks, interfaces and other devices.", DEVICES),
    features=_FEATURES,
    firmware=_FIRMWARE,
    ioThreads=IO_THREADS,
    ioThreadsPolicy=STRING,
    launchSecurity=LAUNCH_SECURITY,
    machine=said("Machine type: q35 and its versions.", record(type=STRING)),
    memory=said(
        "Memory that the guest sees.",
        record(
            guest=QUANTITY,
            hugepages=HUGEPAGES,
            maxGuest=QUANTITY,
            reservedOverhead=record(addedOverhead=QUANTITY, memLock=choice("NotRequired", "Required")),
        ),
    ),
    rebootPolicy=choice("Reboot", "Terminate"),
    resources=said(
        "What the instance's pod asks for.",
        record(limits=mapping(QUANTITY), overcommitGuestOverhead=BOOLEAN, requests=mapping(QUANTITY)),
    ),
)
