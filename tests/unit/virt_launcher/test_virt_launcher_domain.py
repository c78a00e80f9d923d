from __future__ import annotations

import copy
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from kumo.kubevirt.common.launcher_options import Lease, Nic, Options, Volume, from_json, to_json
from kumo.kubevirt.virt_launcher.domain import domain_name, domain_xml
from kumo.kubevirt.virt_launcher.domain.disks import letters

pytestmark = pytest.mark.unit

GOLDEN = Path(__file__).parents[2] / "golden" / "kubevirt"


def load(name: str) -> dict[str, Any]:
    body = yaml.safe_load((GOLDEN / name).read_text())
    return body["items"][0] if body["kind"] == "List" else body


def volumes(namespace: str, name: str, disk: str, seed: str) -> dict[str, Volume]:
    return {
        disk: Volume(
            f"/var/run/kubevirt-ephemeral-disks/disk-data/{disk}/disk.qcow2",
            "qcow2",
            backing_path="/var/run/kubevirt/container-disks/disk_0.img",
            backing_format="qcow2",
        ),
        seed: Volume(f"/var/run/libvirt/cloud-init-dir/{namespace}/{name}/noCloud.iso"),
    }


def same(ours: ElementTree.Element, theirs: ElementTree.Element, path: str = "") -> list[str]:
    """Differences of structure; the order of children with different tags does not matter."""
    here = f"{path}/{theirs.tag}"
    found = []
    if ours.attrib != theirs.attrib:
        found.append(f"{here}: {ours.attrib} != {theirs.attrib}")
    if (ours.text or "").strip() != (theirs.text or "").strip():
        found.append(f"{here}: {ours.text!r} != {theirs.text!r}")
    for tag in sorted({c.tag for c in ours} | {c.tag for c in theirs}):
        mine, wanted = ours.findall(tag), theirs.findall(tag)
        if len(mine) != len(wanted):
            found.append(f"{here}/{tag}: {len(mine)} != {len(wanted)}")
        for a, b in zip(mine, wanted):
            found += same(a, b, here)
    return found


def without_deviations(tree: ElementTree.Element) -> ElementTree.Element:
    """Take away what differs on purpose: the golden files were made without a node."""
    namespace = "{http://kubevirt.io}"
    for interface in tree.iter("interface"):
        interface.attrib.pop("type", None)
        for tag in ("target", "mac", "mtu", "rom"):
            for found in interface.findall(tag):
                interface.remove(found)
    for uid in tree.iter(f"{namespace}uid"):
        uid.text = ""
    for features in tree.iter("features"):
        for tcg in features.findall("tcg"):
            features.remove(tcg)
    return tree


@pytest.mark.parametrize(
    ("golden", "source", "kvm", "memory", "nic"),
    [
        ("domain-vm-cirros.xml", "4-vmi-running.yaml", True, 134217728, "default"),
        ("domain-vmi-masquerade-tcg.xml", "2-vmi-masquerade.yaml", False, 1024000000, "testmasquerade"),
    ],
)
def test_the_domain_is_upstreams(golden: str, source: str, kvm: bool, memory: int, nic: str) -> None:
    vmi = load(source)
    meta = vmi["metadata"]
    options = Options(
        kvm=kvm,
        memory_bytes=memory,
        nics=(Nic(nic, "tap0", "52:54:00:00:00:01", 1500),),
        volumes=volumes(meta["namespace"], meta["name"], "containerdisk", "cloudinitdisk"),
    )
    ours = without_deviations(ElementTree.fromstring(domain_xml(vmi, options)))
    theirs = without_deviations(ElementTree.parse(GOLDEN / golden).getroot())
    assert same(ours, theirs) == []


def cirros(**domain: Any) -> dict[str, Any]:
    vmi = copy.deepcopy(load("4-vmi-running.yaml"))
    vmi["spec"]["domain"] |= domain
    return vmi


def convert(vmi: dict[str, Any], **options: Any) -> ElementTree.Element:
    wanted = Options(
        kvm=options.pop("kvm", False),
        memory_bytes=1 << 28,
        volumes=volumes("default", "vm-cirros", "containerdisk", "cloudinitdisk"),
        **options,
    )
    return ElementTree.fromstring(domain_xml(vmi, wanted))


def test_an_emulated_guest_has_a_bounded_translation_cache() -> None:
    tree = convert(cirros(), tcg_cache_mib=24)
    assert tree.findtext("features/tcg/tb-cache") == "24"
    assert convert(cirros(), kvm=True).find("features/tcg") is None


def test_the_guests_nic_is_the_tap_that_waits_for_it() -> None:
    tree = convert(cirros(), nics=(Nic("default", "tap0", "02:00:00:aa:bb:cc", 1450),))
    interface = tree.find("devices/interface")
    assert interface is not None
    assert [(c.tag, c.attrib) for c in interface] == [
        ("source", {}),
        ("target", {"dev": "tap0", "managed": "no"}),
        ("model", {"type": "virtio-non-transitional"}),
        ("mac", {"address": "02:00:00:aa:bb:cc"}),
        ("mtu", {"size": "1450"}),
        ("alias", {"name": "ua-default"}),
        ("rom", {"enabled": "no"}),
    ]


def test_disks_get_letters_by_bus() -> None:
    vmi = cirros()
    vmi["spec"]["domain"]["devices"]["disks"] = [
        {"name": "containerdisk", "disk": {"bus": "sata"}, "bootOrder": 1, "serial": "S1"},
        {"name": "cloudinitdisk", "cdrom": {"bus": "sata"}},
        {"name": "containerdisk", "disk": {"bus": "virtio"}, "cache": "writethrough", "io": "threads"},
    ]
    disks = convert(vmi).findall("devices/disk")
    targets = [d.find("target").attrib for d in disks]  # type: ignore[union-attr]
    assert targets == [
        {"bus": "sata", "dev": "sda"},
        {"bus": "sata", "dev": "sdb"},
        {"bus": "virtio", "dev": "vda"},
    ]
    assert [d.get("device") for d in disks] == ["disk", "cdrom", "disk"]
    assert disks[0].findtext("serial") == "S1"
    assert disks[0].find("boot").attrib == {"order": "1"}  # type: ignore[union-attr]
    assert disks[1].find("readonly") is not None
    assert disks[2].find("driver").get("cache") == "writethrough"  # type: ignore[union-attr]


def test_a_disk_without_a_volume_is_refused() -> None:
    vmi = cirros()
    vmi["spec"]["domain"]["devices"]["disks"] = [{"name": "nothing", "disk": {}}]
    with pytest.raises(ValueError, match="disk nothing has no volume"):
        convert(vmi)


def test_an_unknown_bus_is_refused() -> None:
    vmi = cirros()
    vmi["spec"]["domain"]["devices"]["disks"] = [{"name": "containerdisk", "disk": {"bus": "ide"}}]
    with pytest.raises(ValueError, match="bus 'ide'"):
        convert(vmi)


@pytest.mark.parametrize(("index", "text"), [(0, "a"), (25, "z"), (26, "aa"), (27, "ab"), (701, "zz"), (702, "aaa")])
def test_letters(index: int, text: str) -> None:
    assert letters(index) == text


def test_devices_can_be_left_out() -> None:
    vmi = cirros()
    vmi["spec"]["domain"]["devices"] |= {
        "autoattachGraphicsDevice": False,
        "autoattachSerialConsole": False,
        "autoattachMemBalloon": False,
    }
    devices = convert(vmi).find("devices")
    assert devices is not None
    assert devices.find("graphics") is None
    assert devices.find("video") is None
    assert devices.find("serial") is None
    assert devices.find("memballoon").attrib == {"model": "none"}  # type: ignore[union-attr]


def test_cpu_sockets_can_be_plugged() -> None:
    tree = convert(cirros(cpu={"sockets": 2, "cores": 2, "threads": 1, "maxSockets": 4, "model": "Haswell"}))
    assert tree.findtext("vcpu") == "8"
    states = [(v.get("enabled"), v.get("hotpluggable")) for v in tree.findall("vcpus/vcpu")]
    assert states == [("yes", "no")] * 2 + [("yes", "yes")] * 2 + [("no", "yes")] * 4
    assert tree.find("cpu").get("mode") == "custom"  # type: ignore[union-attr]
    assert tree.findtext("cpu/model") == "Haswell"


def test_uefi_firmware() -> None:
    tree = convert(cirros(firmware={"bootloader": {"efi": {"secureBoot": False}}}), ovmf_path="/fw")
    loader = tree.find("os/loader")
    assert loader is not None
    assert (loader.text, loader.get("secure"), loader.get("type")) == ("/fw/OVMF_CODE_4M.fd", "no", "pflash")
    assert tree.find("os/nvram").get("template") == "/fw/OVMF_VARS_4M.fd"  # type: ignore[union-attr]


def test_clock_and_hyperv() -> None:
    domain = {
        "clock": {"utc": {}, "timer": {"hpet": {"present": False}, "pit": {"tickPolicy": "delay"}, "hyperv": {}}},
        "features": {"acpi": {}, "apic": {}, "hyperv": {"relaxed": {}, "spinlocks": {"spinlocks": 8191}}},
    }
    tree = convert(cirros(**domain))
    assert tree.find("clock").get("offset") == "utc"  # type: ignore[union-attr]
    assert [t.attrib for t in tree.findall("clock/timer")] == [
        {"name": "hpet", "present": "no"},
        {"name": "pit", "present": "yes", "tickpolicy": "delay"},
        {"name": "hypervclock", "present": "yes"},
    ]
    assert tree.find("features/hyperv/relaxed").get("state") == "on"  # type: ignore[union-attr]
    assert tree.find("features/hyperv/spinlocks").get("retries") == "8191"  # type: ignore[union-attr]


def test_text_is_escaped() -> None:
    vmi = cirros(chassis={"asset": "<&\"'>"})
    assert convert(vmi).findtext("sysinfo/chassis/entry") == "<&\"'>"


def test_name() -> None:
    assert domain_name("default", "vm") == "default_vm"


def test_options_survive_the_socket() -> None:
    options = Options(
        kvm=True,
        memory_bytes=1,
        nics=(Nic("a", "tap0", "02:00:00:00:00:01", 1400),),
        leases=(
            Lease(
                "b", "m", "10.0.2.2", 24, "10.0.2.1", "10.0.2.1", 1500, "h", ("1.1.1.1",), ("x.y",), (("a", 1, "b"),)
            ),
        ),
        volumes={"v": Volume("/p", "qcow2", capacity=5)},
    )
    assert from_json(to_json(options)) == options
