"""Rules on the remaining devices, firmware, features and strategies of an instance."""

from __future__ import annotations

from typing import Any

from kumo.kubevirt.common.config import ClusterConfig
from kumo.kubevirt.common.specs import Spec, devices, disks, domain, volumes
from kumo.kubevirt.virt_api.defaults.features import HYPERV_REQUIREMENTS
from kumo.kubevirt.virt_api.validation.causes import Causes, invalid, required, unsupported
from kumo.kubevirt.virt_api.validation.disks import path_rules

_EVICTION = ("", "None", "LiveMigrate", "LiveMigrateIfPossible", "External")
_VIDEO = ("vga", "cirrus", "virtio", "ramfb", "bochs")
_PANIC_MODELS = ("hyperv", "isa", "pvpanic")


def _on(state: dict[str, Any] | None) -> bool:
    return state is not None and state.get("enabled") is not False


def firmware_rules(field: str, spec: Spec) -> Causes:
    """Boot loader, kernel boot, and what secure boot needs; `field` is the domain's path."""
    firmware, own = domain(spec).get("firmware") or {}, f"{field}.firmware"
    bootloader = firmware.get("bootloader") or {}
    if bootloader.get("efi") is not None and bootloader.get("bios") is not None:
        path = f"{own}.bootloader"
        yield invalid(path, f"{path} has both EFI and BIOS configured, but they are mutually exclusive.")
    yield from _kernel_boot_rules(f"{own}.kernelBoot", firmware.get("kernelBoot"))
    efi = bootloader.get("efi")
    secure = efi is not None and efi.get("secureBoot") is not False
    tdx = (domain(spec).get("launchSecurity") or {}).get("tdx") is not None
    if secure and not _on((domain(spec).get("features") or {}).get("smm")) and not tdx:
        words = "has EFI SecureBoot enabled. SecureBoot requires SMM, which is currently disabled."
        yield invalid(field, f"{field} {words}")


def _kernel_boot_rules(own: str, boot: dict[str, Any] | None) -> Causes:
    if boot is None:
        return
    container, path = boot.get("container"), f"{own}.container"
    if container is None:
        if boot.get("kernelArgs"):
            yield invalid(f"{own}.kernelArgs", "kernel arguments cannot be provided without an external kernel")
        return
    if not container.get("image"):
        yield required(f"{path}.image", f"{path} must be defined with an image")
    if not container.get("initrdPath") and not container.get("kernelPath"):
        yield required(path, f"{path} must be defined with at least one of the following: kernelPath, initrdPath")
    for part in ("kernelPath", "initrdPath"):
        if container.get(part):
            yield from path_rules(f"{path}.{part}", container[part])


def acpi_table_rules(field: str, spec: Spec) -> Causes:
    """ACPI tables taken from secret volumes."""
    acpi, own = (domain(spec).get("firmware") or {}).get("acpi"), f"{field}.acpi"
    if acpi is None:
        return
    if not acpi.get("slicNameRef") and not acpi.get("msdmNameRef"):
        yield invalid(own, "ACPI was set but no SLIC nor MSDM volume reference was set")
        return
    for name in ("slicNameRef", "msdmNameRef"):
        if not acpi.get(name):
            continue
        volume = next((v for v in volumes(spec) if v.get("name") == acpi[name]), None)
        if volume is None:
            yield invalid(f"{own}.{name}", f"{own} does not have a matching Volume.")
        elif volume.get("secret") is None:
            yield invalid(f"{own}.{name}", f"{own} refers to Volume of unsupported type.")


def input_rules(field: str, spec: Spec) -> Causes:
    """Input devices are tablets on virtio or USB."""
    for index, device in enumerate(devices(spec).get("inputs") or ()):
        own = f"{field}.domain.devices.inputs[{index}]"
        if device.get("bus", "") not in ("", "virtio", "usb"):
            yield invalid(f"{own}.bus", "Input device can have only virtio or usb bus.")
        if device.get("type") != "tablet":
            yield invalid(f"{own}.type", "Input device can have only tablet type.")


def io_thread_rules(field: str, spec: Spec) -> Causes:
    """The policy of I/O threads."""
    policy = domain(spec).get("ioThreadsPolicy")
    if policy is None:
        return
    if policy not in ("shared", "auto", "supplementalPool"):
        yield invalid(f"{field}.domain.ioThreadsPolicy", f"Invalid IOThreadsPolicy ({policy})")
    count = (domain(spec).get("ioThreads") or {}).get("supplementalPoolThreadCount")
    if policy == "supplementalPool" and (count or 0) < 1:
        message = "the number of iothreads needs to be set and positive for the dedicated policy"
        yield invalid(f"{field}.domain.ioThreads.count", message)


def start_rules(field: str, spec: Spec) -> Causes:
    """How an instance is started."""
    strategy, path = spec.get("startStrategy"), f"{field}.startStrategy"
    if strategy is None:
        return
    if strategy != "Paused":
        yield invalid(path, f"{path} is set with an unrecognized option: {strategy}")
    elif spec.get("livenessProbe") is not None:
        message = f"either {path} or {field}.livenessProbe should be provided."
        yield invalid(path, f"{message}Pausing VMI with LivenessProbe is not supported")


def eviction_rules(field: str, spec: Spec) -> Causes:
    """What happens when the node is drained."""
    strategy, path = spec.get("evictionStrategy"), f"{field}.evictionStrategy"
    if strategy is not None and strategy not in _EVICTION:
        yield invalid(path, f"{path} is set with an unrecognized option: {strategy}")


def host_device_rules(field: str, spec: Spec, config: ClusterConfig) -> Causes:
    """Devices of the host, sound, graphics memory."""
    own = devices(spec)
    displays = [
        d
        for d in own.get("gpus") or ()
        if (d.get("virtualGPUOptions") or {}).get("display") is not None
        and _on(d["virtualGPUOptions"]["display"])
        and _on(d["virtualGPUOptions"]["display"].get("ramFB") or {})
    ]
    if len(displays) > 1:
        yield invalid(f"{field}.GPUs", "configuring multiple displays with ramfb is not valid ")
    if own.get("hostDevices") is not None and not config.gate("HostDevices"):
        yield invalid(f"{field}.HostDevices", "Host Devices feature gate is not enabled in kubevirt-config")
    sound = own.get("sound")
    if sound is not None:
        if sound.get("model", "") not in ("", "ich9", "ac97"):
            message = "Sound device type is not supported. Options: 'ich9' or 'ac97'"
            yield invalid(f"{field}.Sound", message)
        if not sound.get("name"):
            yield invalid(f"{field}.Sound", "Sound device requires a name field.")


def launch_security_rules(field: str, spec: Spec, config: ClusterConfig) -> Causes:
    """Encrypted guests: one kind, its gate, its firmware."""
    security = domain(spec).get("launchSecurity")
    if security is None:
        return
    architecture, path = spec.get("architecture", ""), f"{field}.launchSecurity"
    if architecture == "s390x":
        return
    if architecture != "amd64":
        message = f"No launchSecurity support for architecture: {architecture}"
        yield invalid(f"{field}.architecture", message)
        return
    kinds = [kind for kind in ("sev", "snp", "tdx") if security.get(kind) is not None]
    if len(kinds) != 1:
        yield invalid(path, "One and only one launchSecurity type can be set")._replace(reason="FieldValueForbidden")
        return
    kind = kinds[0]
    gate = "WorkloadEncryptionTDX" if kind == "tdx" else "WorkloadEncryptionSEV"
    if not config.gate(gate):
        yield invalid(path, f"{gate} feature gate is not enabled in kubevirt-config")
        return
    efi = ((domain(spec).get("firmware") or {}).get("bootloader") or {}).get("efi")
    if kind == "tdx" and _on((domain(spec).get("features") or {}).get("smm")):
        yield invalid(path, "TDX does not work along with SMM")
    if efi is None:
        yield invalid(path, f"{kind.upper()} requires OVMF (UEFI)")
    elif kind != "tdx" and efi.get("secureBoot") is not False:
        yield invalid(path, f"{kind.upper()} does not work along with SecureBoot")


def gated_rules(field: str, spec: Spec, config: ClusterConfig) -> Causes:
    """Devices that stand behind a feature gate, and video, panic and reboot settings."""
    own, base = devices(spec), f"{field}.domain.devices"
    if own.get("autoattachVSOCK") and not config.gate("VSOCK"):
        yield invalid(f"{base}.autoattachVSOCK", "VSOCK feature gate is not enabled in kubevirt-config")
    if any((d.get("lun") or {}).get("reservation") for d in disks(spec)) and not config.gate("PersistentReservation"):
        message = "persistent reservation is not enabled in kubevirt config"
        yield invalid(f"{base}.disks.luns.reservation", message)
    if own.get("downwardMetrics") is not None and not config.gate("DownwardMetrics"):
        message = "downwardMetrics virtio serial is not allowed: DownwardMetrics feature gate is not enabled"
        yield invalid(f"{base}.downwardMetrics", message)
    by_name = {v.get("name"): v for v in volumes(spec)}
    for system in own.get("filesystems") or ():
        volume = by_name.get(system.get("name")) or {}
        on_claim = volume.get("persistentVolumeClaim") is not None or volume.get("dataVolume") is not None
        if on_claim and not config.gate("EnableVirtioFsStorageVolumes"):
            message = "virtiofs is not allowed: virtiofs feature gate is not enabled for PVC"
            yield invalid(f"{base}.filesystems", message)
    if own.get("video") is not None and own.get("autoattachGraphicsDevice") is False:
        message = "Video configuration is not allowed when autoattachGraphicsDevice is set to false"
        yield invalid(f"{field}.video", message)
    for index, panic in enumerate(own.get("panicDevices") or ()):
        model = panic.get("model")
        if model is not None and model not in _PANIC_MODELS:
            yield invalid(f"{base}.panicDevices[{index}].model", f"invalid PanicDeviceModel({model})")
    if domain(spec).get("rebootPolicy") is not None and not config.gate("RebootPolicy"):
        message = "RebootPolicy is specified but the RebootPolicy feature gate is not enabled"
        yield invalid(f"{field}.domain.rebootPolicy", message)
    reserved = (domain(spec).get("memory") or {}).get("reservedOverhead")
    if reserved is not None and not config.gate("ReservedOverheadMemlock"):
        message = "Reserved overhead memlock feature gate is not enabled in kubevirt-config"
        yield invalid(f"{field}.domain.memory.reservedOverhead", message)


def hyperv_rules(field: str, spec: Spec) -> Causes:
    """Hyper-V features whose requirement somebody has disabled; `field` is the path of `hyperv`."""
    hyperv = (domain(spec).get("features") or {}).get("hyperv") or {}
    prefix = f"{field}.domain.features.hyperv"
    for feature, needed in HYPERV_REQUIREMENTS:
        if (hyperv.get(feature) or {}).get("enabled") and not (hyperv.get(needed) or {}).get("enabled"):
            path = f"{prefix}.{feature}"
            yield invalid(path, f"'{path}' requires '{prefix}.{needed}', which was disabled.")


def architecture_rules(field: str, spec: Spec) -> Causes:
    """What an architecture does not have."""
    architecture, own = spec.get("architecture", ""), devices(spec)
    if architecture not in ("amd64", "arm64", "s390x"):
        yield invalid(f"{field}.architecture", f"unsupported architecture: {architecture}")
        return
    if architecture != "amd64":
        return
    watchdog = own.get("watchdog")
    if watchdog is not None and (watchdog.get("i6300esb") is None or watchdog.get("diag288") is not None):
        yield unsupported(f"{field}.domain.devices.watchdog", "amd64 only supports I6300ESB watchdog device")
    video = own.get("video")
    if video is not None and video.get("type", "") not in _VIDEO:
        message = f"video model '{video.get('type', '')}' is not supported on amd64 architecture"
        yield unsupported(f"{field}.domain.devices.video.type", message)
