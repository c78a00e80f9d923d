"""The devices of a domain other than its disks, in upstream's order."""

from __future__ import annotations

from typing import Any

from kumo.kubevirt.common import launcher_contract as contract
from kumo.kubevirt.common.launcher_options import Nic, Options
from kumo.kubevirt.virt_launcher.xml import Element, element

VIRTIO = "virtio-non-transitional"


def virtio_model(domain_devices: dict[str, Any]) -> str:
    """The PCI flavour of virtio devices: modern only, unless the VMI asks for transitional ones (old guests)."""
    return "virtio-transitional" if domain_devices.get("useVirtioTransitional") else VIRTIO


def devices(vmi: dict[str, Any], options: Options) -> list[Element]:
    """All devices but the disks."""
    wanted = vmi["spec"]["domain"].get("devices") or {}
    uid = vmi["metadata"].get("uid", "")
    model = virtio_model(wanted)
    found = [_interface(i, options, model) for i in wanted.get("interfaces") or () if i.get("state") != "absent"]
    found.append(element("channel", element("target", name="org.qemu.guest_agent.0", type="virtio"), type="unix"))
    found += _controllers(wanted, model)
    if wanted.get("autoattachGraphicsDevice", True):
        video = (wanted.get("video") or {}).get("type") or "vga"
        vram = "16384" if video == "vga" else None
        found.append(element("video", element("model", type=video, heads=1, vram=vram)))
        found.append(element("graphics", element("listen", type="socket", socket=contract.vnc_socket(uid)), type="vnc"))
    found.append(_balloon(wanted, model))
    if wanted.get("autoattachSerialConsole", True):
        found += _serial(uid)
    if wanted.get("rng") is not None:
        found.append(element("rng", element("backend", "/dev/urandom", model="random"), model=model))
    found += _inputs(wanted, model)
    if (watchdog := (wanted.get("watchdog") or {}).get("i6300esb")) is not None:
        found.append(element("watchdog", model="i6300esb", action=watchdog.get("action") or "reset"))
    if (sound := wanted.get("sound")) is not None:
        found.append(element("sound", model=sound.get("model") or "ich9"))
    if wanted.get("panicDevices"):
        found += [element("panic", model=p.get("model") or "isa") for p in wanted["panicDevices"]]
    return found


def _interface(interface: dict[str, Any], options: Options, virtio: str) -> Element:
    name = interface["name"]
    nic = next((n for n in options.nics if n.name == name), None) or Nic(name, "", interface.get("macAddress") or "")
    model = interface.get("model") or "virtio"
    boot = interface.get("bootOrder")
    link_down = interface.get("state") == "down"
    return element(
        "interface",
        element("source"),
        element("target", dev=nic.tap, managed="no") if nic.tap else None,
        element("model", type=virtio if model == "virtio" else model),
        element("mac", address=nic.mac) if nic.mac else None,
        element("mtu", size=nic.mtu) if nic.mtu else None,
        element("boot", order=boot) if boot else None,
        element("link", state="down") if link_down else None,
        element("alias", name=f"ua-{name}"),
        # Without its option ROM a card that is not booted from starts faster.
        None if boot else element("rom", enabled="no"),
        type="ethernet",
    )


def _controllers(wanted: dict[str, Any], virtio: str) -> list[Element]:
    usb = any(i.get("bus") == "usb" for i in wanted.get("inputs") or ()) or any(
        (d.get("disk") or {}).get("bus") == "usb" for d in wanted.get("disks") or ()
    )
    return [
        element("controller", type="usb", index=0, model="qemu-xhci" if usb else "none"),
        element("controller", type="scsi", index=0, model=virtio),
        element("controller", type="virtio-serial", index=0, model=virtio),
    ]


def _balloon(wanted: dict[str, Any], virtio: str) -> Element:
    if wanted.get("autoattachMemBalloon") is False:
        return element("memballoon", model="none")
    return element("memballoon", element("stats", period=10), model=virtio, freePageReporting="on")


def _serial(uid: str) -> list[Element]:
    return [
        element(
            "serial",
            element("target", port=0),
            element("source", mode="bind", path=contract.serial_socket(uid)),
            element("log", file=contract.serial_log(uid), append="on"),
            type="unix",
        ),
        element("console", element("target", type="serial", port=0), type="pty"),
    ]


def _inputs(wanted: dict[str, Any], virtio: str) -> list[Element]:
    return [
        element(
            "input",
            element("alias", name=f"ua-{item['name']}"),
            type=item.get("type") or "tablet",
            bus=item.get("bus") or "usb",
            model=virtio if item.get("bus") == "virtio" else None,
        )
        for item in wanted.get("inputs") or ()
    ]
