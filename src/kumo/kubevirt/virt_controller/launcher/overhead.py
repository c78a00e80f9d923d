"""How much memory a virtual machine costs beyond what its guest sees: the one formula, for pods and documentation."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

from kumo.api.quantities import parse
from kumo.kubevirt.common.launcher_contract import TCG_CACHE_MIB
from kumo.kubevirt.common.specs import Spec, devices, domain, graphics_device, quantity, requests, vcpus

MIB = 1 << 20
LAUNCHER = 14 * MIB
LIBVIRTD = 14 * MIB
QEMU = 52 * MIB
PER_VCPU = 3 * MIB
VIDEO = 16 * MIB
PAGE_TABLE_RATIO = 512
TPM = 16 * MIB
DEDICATED_CPU = 32 * MIB
DEVICE_PASSTHROUGH = 1024 * MIB


def memory_overhead(spec: Spec, *, emulated: bool, ratio: Fraction = Fraction(1)) -> int:
    """Bytes that the pod of a VM with this spec needs beside the guest's memory.

    The sum of

    * 14 MiB for virt-launcher (Python) and 14 MiB for libvirtd,
    * 52 MiB for QEMU itself, without the guest's memory,
    * 3 MiB for each virtual CPU (stacks, I/O thread),
    * 16 MiB of video memory, if the VM has a graphics device,
    * 1/512 of the guest's memory for page tables (8 bytes for each page of 4 KiB),
    * without KVM: the translation cache, 32 MiB, and as much as half of it again for its index,
    * 16 MiB for a TPM, 32 MiB for pinned CPUs, 1 GiB for PCI devices of the host, where the VM has these,

    multiplied by `ratio` (`additionalGuestMemoryOverheadRatio`) and rounded up to whole MiB. For one CPU and 256 MiB
    with KVM that is 100 MiB.
    The figures are measured (PSS after boot, Debian's QEMU 7.2 and libvirt 9.0); upstream reserves 288 MiB, its
    components being larger.
    """
    guest = parse((domain(spec).get("memory") or {}).get("guest") or 0) or quantity(requests(spec), "memory")
    cpu = domain(spec).get("cpu") or {}
    total = Fraction(LAUNCHER + LIBVIRTD + QEMU) + PER_VCPU * max(vcpus(cpu), 1) + guest / PAGE_TABLE_RATIO
    if graphics_device(spec):
        total += VIDEO
    if emulated:
        total += TCG_CACHE_MIB * MIB * Fraction(3, 2)
    if devices(spec).get("tpm") is not None:
        total += TPM
    if cpu.get("dedicatedCpuPlacement"):
        total += DEDICATED_CPU
    if devices(spec).get("gpus") or devices(spec).get("hostDevices"):
        total += DEVICE_PASSTHROUGH
    return ceil(total * ratio / MIB) * MIB
