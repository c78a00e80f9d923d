"""The domain's frame: name, memory, firmware, features, clock, CPU; the devices are in the modules beside."""

from __future__ import annotations

from typing import Any

from kumo.kubevirt.common.launcher_options import Options
from kumo.kubevirt.virt_launcher.domain.devices import devices
from kumo.kubevirt.virt_launcher.domain.disks import disks
from kumo.kubevirt.virt_launcher.xml import Element, element, render

Vmi = dict[str, Any]

_QEMU_NAMESPACE = "http://libvirt.org/schemas/domain/qemu/1.0"
_TIMERS = ("hpet", "kvm", "pit", "rtc", "hyperv")
_TIMER_NAMES = {"kvm": "kvmclock", "hyperv": "hypervclock"}
_HYPERV_SWITCHES = (
    "relaxed", "vapic", "vpindex", "runtime", "synic", "reset", "frequencies", "reenlightenment", "tlbflush", "ipi",
    "evmcs",
)  # fmt: skip


def domain_name(namespace: str, name: str) -> str:
    """The domain's name in libvirt: `<namespace>_<name>`."""
    return f"{namespace}_{name}"


def domain_xml(vmi: Vmi, options: Options) -> str:
    """The domain for that VMI (defaults of virt-api applied), as text for `defineXML`.

    Raises ValueError for what cannot be converted; the text says which field and why.
    """
    return render(domain_element(vmi, options))


def domain_element(vmi: Vmi, options: Options) -> Element:
    """The same as a tree."""
    meta, domain = vmi["metadata"], vmi["spec"]["domain"]
    return element(
        "domain",
        element("name", domain_name(meta["namespace"], meta["name"])),
        element("memory", str(options.memory_bytes), unit="b"),
        _os(domain, options),
        _sysinfo(domain),
        element("devices", *devices(vmi, options), *disks(vmi, options)),
        element("clock", *_timers(domain), **_clock(domain)) if domain.get("clock") else None,
        _metadata(vmi),
        _features(domain, options),
        _cpu(domain, options),
        *_vcpus(domain),
        element("iothreads", "1") if _wants_io_thread(domain) else None,
        type="kvm" if options.kvm else "qemu",
        xmlns__qemu=_QEMU_NAMESPACE,
    )


def _os(domain: dict[str, Any], options: Options) -> Element:
    machine = (domain.get("machine") or {}).get("type") or "q35"
    bootloader = (domain.get("firmware") or {}).get("bootloader") or {}
    serial = (bootloader.get("bios") or {}).get("useSerial")
    efi = bootloader.get("efi")
    loader = nvram = None
    if efi is not None:
        secure = efi.get("secureBoot", True)
        code, template = (
            ("OVMF_CODE_4M.secboot.fd", "OVMF_VARS_4M.ms.fd") if secure else ("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd")
        )
        loader = element(
            "loader",
            f"{options.ovmf_path}/{code}",
            readonly="yes",
            secure="yes" if secure else "no",
            type="pflash",
        )
        nvram = element("nvram", template=f"{options.ovmf_path}/{template}")
    return element(
        "os",
        element("type", "hvm", arch="x86_64", machine=machine),
        element("smbios", mode="sysinfo"),
        loader,
        nvram,
        element("bios", useserial="yes") if serial else None,
    )


def _sysinfo(domain: dict[str, Any]) -> Element:
    firmware = domain.get("firmware") or {}
    entries = [element("entry", firmware[field], name=field) for field in ("uuid", "serial") if firmware.get(field)]
    entries += [element("entry", "KubeVirt", name="manufacturer"), element("entry", "KubeVirt", name="family")]
    entries += [
        element("entry", "None", name="product"),
        element("entry", name="sku"),
        element("entry", name="version"),
    ]
    asset_tag = (domain.get("chassis") or {}).get("asset")
    chassis = element("chassis", element("entry", asset_tag, name="asset") if asset_tag else None)
    return element(
        "sysinfo", element("system", *entries), element("bios"), element("baseBoard"), chassis, type="smbios"
    )


def _metadata(vmi: Vmi) -> Element:
    kubevirt = element("kubevirt", element("uid", vmi["metadata"].get("uid", "")), xmlns="http://kubevirt.io")
    return element("metadata", kubevirt)


def _state(feature: dict[str, Any] | None, default: bool = True) -> str | None:
    if feature is None:
        return None
    return "on" if feature.get("enabled", default) else "off"


def _features(domain: dict[str, Any], options: Options) -> Element:
    wanted = domain.get("features") or {}
    acpi = wanted.get("acpi")
    children = [element("acpi")] if acpi is None or acpi.get("enabled", True) else []
    if (apic := wanted.get("apic")) is not None and apic.get("enabled", True):
        children.append(element("apic", eoi="on" if apic.get("endOfInterrupt") else None))
    if (hyperv := wanted.get("hyperv")) is not None:
        children.append(element("hyperv", *_hyperv(hyperv)))
    if (kvm := wanted.get("kvm")) is not None and kvm.get("hidden"):
        children.append(element("kvm", element("hidden", state="on")))
    if (smm := wanted.get("smm")) is not None:
        children.append(element("smm", state=_state(smm)))
    if (pvspinlock := wanted.get("pvspinlock")) is not None:
        children.append(element("pvspinlock", state=_state(pvspinlock)))
    if not options.kvm and options.tcg_cache_mib:
        children.append(element("tcg", element("tb-cache", str(options.tcg_cache_mib), unit="MiB")))
    children.append(element("vmport", state="off"))
    return element("features", *children)


def _hyperv(hyperv: dict[str, Any]) -> list[Element]:
    found = [element(name, state=_state(hyperv[name])) for name in _HYPERV_SWITCHES if hyperv.get(name) is not None]
    if (spinlocks := hyperv.get("spinlocks")) is not None:
        found.append(element("spinlocks", state=_state(spinlocks), retries=spinlocks.get("spinlocks", 4096)))
    if (timer := hyperv.get("synictimer")) is not None:
        direct = element("direct", state=_state(timer["direct"])) if timer.get("direct") is not None else None
        found.append(element("stimer", direct, state=_state(timer)))
    if (vendor := hyperv.get("vendorid")) is not None:
        found.append(element("vendor_id", state=_state(vendor), value=vendor.get("vendorid")))
    return found


def _clock(domain: dict[str, Any]) -> dict[str, str | int | None]:
    clock = domain["clock"]
    if clock.get("timezone"):
        return {"offset": "timezone", "timezone": clock["timezone"]}
    adjustment = (clock.get("utc") or {}).get("offsetSeconds")
    if adjustment is not None:
        return {"offset": "variable", "adjustment": adjustment, "basis": "utc"}
    return {"offset": "utc"}


def _timers(domain: dict[str, Any]) -> list[Element]:
    wanted = domain["clock"].get("timer") or {}
    found = []
    for name in _TIMERS:
        timer = wanted.get(name)
        if timer is not None:
            found.append(
                element(
                    "timer",
                    name=_TIMER_NAMES.get(name, name),
                    present="yes" if timer.get("present", True) else "no",
                    tickpolicy=timer.get("tickPolicy"),
                    track=timer.get("track"),
                )
            )
    return found


def _topology(domain: dict[str, Any]) -> tuple[int, int, int]:
    cpu = domain.get("cpu") or {}
    return int(cpu.get("sockets") or 1), int(cpu.get("cores") or 1), int(cpu.get("threads") or 1)


def _cpu(domain: dict[str, Any], options: Options) -> Element:
    cpu = domain.get("cpu") or {}
    sockets, cores, threads = _topology(domain)
    topology = element("topology", sockets=max(sockets, int(cpu.get("maxSockets") or 0)), cores=cores, threads=threads)
    features = [
        element("feature", name=feature["name"], policy=feature.get("policy") or "require")
        for feature in cpu.get("features") or ()
    ]
    model = options.cpu_model or cpu.get("model") or "host-model"
    if model in ("host-model", "host-passthrough", "maximum"):
        return element("cpu", topology, *features, mode=model)
    return element("cpu", element("model", model), topology, *features, mode="custom")


def _vcpus(domain: dict[str, Any]) -> list[Element]:
    sockets, cores, threads = _topology(domain)
    per_socket = cores * threads
    online = sockets * per_socket
    total = max(sockets, int((domain.get("cpu") or {}).get("maxSockets") or 0)) * per_socket
    count = element("vcpu", str(total), placement="static")
    if total == online:
        return [count]
    # Whole sockets are hot-pluggable; the first one never is.
    each = [
        element(
            "vcpu",
            id=i,
            enabled="yes" if i < online else "no",
            hotpluggable="no" if i < per_socket else "yes",
        )
        for i in range(total)
    ]
    return [count, element("vcpus", *each)]


def _wants_io_thread(domain: dict[str, Any]) -> bool:
    disks_wanted = (domain.get("devices") or {}).get("disks") or ()
    return bool(domain.get("ioThreadsPolicy")) or any(d.get("dedicatedIOThread") for d in disks_wanted)
