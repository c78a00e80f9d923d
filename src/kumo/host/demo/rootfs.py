"""The demo system's files: what goes into its initial and its root file system."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from importlib import resources
from pathlib import Path

from kumo.host.demo.elf import Libraries, needed
from kumo.host.demo.initramfs import Entry, archive
from kumo.host.demo.kernel import Modules

LABEL = "kumoroot"
USER, PASSWORD = "cirros", "gocubsgo"
_HASH = "$6$kumodemo$J7FS7CgyYYxAM0oZPxUUi9UwNtHoBnxnA2LACuKsNis3u.YEyzZVRenJiQRUeXcKzovjOA9CtZgsrp0zS.h8o/"
"""The password as /etc/shadow has it (crypt(5), SHA-512). It is no secret: the login prompt shows it."""
ISSUE = f"login as '{USER}' user. default password: '{PASSWORD}'. use 'sudo' for root.\n"
EARLY = ["virtio_pci", "virtio_blk", "crc32c_generic", "ext4"]
EARLY_OTHERS = ["virtio_scsi", "ahci", "ata_piix", "sd_mod"]
LATE = [
    *("virtio_net", "virtio_console", "virtio_rng", "virtio_balloon", "virtio_scsi", "virtio_input", "virtiofs"),
    *("vmw_vsock_virtio_transport", "sd_mod", "sr_mod", "ahci", "ata_piix", "isofs", "vfat", "nls_cp437", "nls_ascii"),
    *("nls_iso8859_1", "nls_utf8", "button", "evdev", "e1000"),
]
_PROGRAMS = {
    "usr/sbin/dropbear": "usr/sbin/dropbear",
    "usr/bin/dropbearkey": "usr/bin/dropbearkey",
    "usr/bin/dbclient": "usr/bin/ssh",
    "usr/sbin/qemu-ga": "usr/sbin/qemu-ga",
    "sbin/resize2fs": "sbin/resize2fs",
    "usr/bin/doas": "usr/bin/doas",
}
_FIRST_APPLETS = (
    *("sh", "mkdir", "mount", "insmod", "findfs", "usleep", "readlink", "dirname", "basename", "cat", "printf", "dd"),
    *("blockdev", "switch_root", "dmesg", "ls"),
)
_SBIN = (
    "init",
    "getty",
    "ip",
    "udhcpc",
    "reboot",
    "poweroff",
    "halt",
    "ifconfig",
    "route",
    "insmod",
    "modprobe",
    "blkid",
)


def _script(name: str) -> str:
    text = (resources.files("kumo.host.demo") / "guest" / name).read_text()
    return text.replace("@LABEL@", LABEL)


def busybox_of(packages: Path) -> Path:
    """The static busybox among the unpacked packages."""
    return next(p for p in (packages / "bin/busybox", packages / "usr/bin/busybox") if p.exists())


def applets(busybox: Path) -> list[str]:
    """What the program can be called as."""
    finished = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
    return [name for name in finished.stdout.split() if name != "busybox"]


def initramfs(packages: Path, modules: Modules) -> bytes:
    """The file system in memory that finds and mounts the root, compressed so that small machines have room for it."""
    first = modules.closure(EARLY)
    others = [m for m in modules.closure(EARLY_OTHERS) if m not in first]
    entries = [Entry(d) for d in ("bin", "lib", "lib/modules", "proc", "sys", "root")]
    entries.append(Entry("bin/busybox", busybox_of(packages).read_bytes()))
    entries += [Entry(f"bin/{name}", link="busybox") for name in _FIRST_APPLETS]
    entries.append(Entry("init", _script("init").encode()))
    for name, found in (("virtio", first), ("others", others)):
        entries.append(Entry(f"lib/modules/{name}", "".join(f"{m}.ko\n" for m in found).encode(), 0o644))
        entries += [Entry(f"lib/modules/{m}.ko", modules.content(m), 0o644) for m in found]
    return gzip.compress(archive(entries), 9, mtime=0)


def populate(root: Path, packages: Path, modules: Modules) -> None:
    """Write the root file system's tree to the empty directory `root`. Needs root, for owners and the setuid bit."""
    folders = ("bin", "sbin", "usr/bin", "usr/sbin", "usr/lib", "dev", "proc", "sys", "run", "tmp", "mnt")
    for folder in (*folders, "root", "home", "etc/dropbear", "etc/acpi/PWRF", "var/lib/cloud", "var/log", "www"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    _programs(root, packages)
    _modules(root, modules)
    _configuration(root)
    for name in ("rcS", "network", "seed", "late"):
        _write(root / "etc/init.d" / name, _script(name), 0o755)
    _write(root / "usr/share/udhcpc/default.script", _script("dhcp"), 0o755)
    _write(root / "usr/lib/cloud/flatten.awk", _script("flatten.awk"))
    _write(root / "etc/acpi/PWRF/00000080", "#!/bin/sh\nexec /sbin/poweroff\n", 0o755)
    _write(root / "usr/bin/sudo", _script("sudo"), 0o755)
    _write(root / "sbin/shutdown", _script("shutdown"), 0o755)
    (root / "usr/bin/doas").chmod(0o4755)
    (root / "tmp").chmod(0o1777)
    (root / "root").chmod(0o700)
    home = root / "home" / USER
    home.mkdir(mode=0o755)
    os.chown(home, 1000, 1000)


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def _programs(root: Path, packages: Path) -> None:
    busybox = busybox_of(packages)
    shutil.copyfile(busybox, root / "bin/busybox")
    (root / "bin/busybox").chmod(0o755)
    for name in applets(busybox):
        (root / "bin" / name).symlink_to("/bin/busybox")
    for name in _SBIN:
        (root / "sbin" / name).symlink_to("/bin/busybox")
    libraries = Libraries(packages)
    programs = []
    for source, target in _PROGRAMS.items():
        found = next((p for p in (packages / source, packages / "usr" / source) if p.exists()), None)
        if found is None:
            raise LookupError(f"no package has brought {source}")
        programs.append(found)
        (root / target).unlink(missing_ok=True)
        shutil.copyfile(found, root / target)
        (root / target).chmod(0o755)
    # a plug-in of doas, found by its configuration and not by its headers
    permit = libraries.find("libpam.so.0"), next(packages.rglob("pam_permit.so"), None)
    if None in permit:
        raise LookupError("no package has brought libpam.so.0 and pam_permit.so")
    plugins = root / "usr/lib/security"
    plugins.mkdir()
    for path in permit:
        assert path is not None
        programs.append(path)
    shutil.copyfile(programs[-1], plugins / "pam_permit.so")
    for name, path in libraries.closure(programs).items():
        shutil.copyfile(path, root / "usr/lib" / name)
        (root / "usr/lib" / name).chmod(0o755)
    loader = Path(needed((root / "usr/sbin/dropbear").read_bytes())[1])
    (root / "lib").mkdir(exist_ok=True)
    (root / str(loader).lstrip("/")).symlink_to(f"/usr/lib/{loader.name}")
    for triplet in ("i386-linux-gnu", "x86_64-linux-gnu"):
        (root / "lib" / triplet).symlink_to("/usr/lib")
        (root / "usr/lib" / triplet).symlink_to("/usr/lib")


def _modules(root: Path, modules: Modules) -> None:
    directory = root / "lib/modules" / modules.version
    directory.mkdir(parents=True)
    found = modules.closure(LATE)
    lines = []
    for name in found:
        (directory / f"{name}.ko").write_bytes(modules.content(name))
        # the nearest need comes first, and each line holds all of them, as depmod writes it
        needs = [m for m in reversed(modules.closure([name])) if m != name]
        lines.append(f"{name}.ko: {' '.join(f'{m}.ko' for m in needs)}".rstrip() + "\n")
    (directory / "modules.dep").write_text("".join(lines))


def _configuration(root: Path) -> None:
    files = {
        "passwd": f"root:x:0:0:root:/root:/bin/sh\n{USER}:x:1000:1000:{USER}:/home/{USER}:/bin/sh\n",
        "group": f"root:x:0:\ntty:x:5:\nsudo:x:27:{USER}\n{USER}:x:1000:\n",
        "shells": "/bin/sh\n",
        "inittab": _script("inittab"),
        "hosts": "127.0.0.1 localhost\n127.0.1.1 cirros\n",
        "hostname": "cirros\n",
        "issue": ISSUE,
        "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
        "profile": "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nexport PS1='$ '\n",
        "os-release": 'NAME="kumo demo"\nID=kumo-demo\nPRETTY_NAME="kumo demo system (Debian packages)"\n',
        "resolv.conf": "",
        "doas.conf": "permit nopass keepenv :sudo\n",
        "pam.d/doas": "".join(f"{k} required pam_permit.so\n" for k in ("auth", "account", "password", "session")),
    }
    for name, text in files.items():
        _write(root / "etc" / name, text)
    _write(root / "etc/shadow", f"root:*:19000:0:99999:7:::\n{USER}:{_HASH}:19000:0:99999:7:::\n", 0o600)
