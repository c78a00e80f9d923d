"""The demo disk: a boot partition for BIOS and UEFI, and the root file system, in one qcow2 file.

MBR; partition 1 is FAT with syslinux (as boot sector for BIOS, as `EFI/BOOT/BOOTX64.EFI` for UEFI), the kernel and the
initial file system; partition 2 is ext4, grown to the disk's size at boot. Nothing is mounted: mtools and mke2fs write
file systems into files.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from kumo.host.demo import packages, rootfs
from kumo.host.demo.kernel import Modules
from kumo.host.demo.unpacked_kernel import unpacked

_BOOT_MIB, _ROOT_MIB = 32, 80
_SECTOR, _PER_MIB = 512, 2048
# What only costs time where the processor is emulated: self-tests, mitigations, a search for plug-and-play cards.
_APPEND = (
    "console=tty0 console=ttyS0,115200 net.ifnames=0 random.trust_cpu=on mitigations=off nokaslr "
    "no_timer_check cryptomgr.notests noisapnp"
)
_SYSLINUX = f"""SERIAL 0 115200
PROMPT 0
TIMEOUT 0
DEFAULT cirros
LABEL cirros
  LINUX /%s
  INITRD /initrd.img
  APPEND {_APPEND}
"""


class BuildError(Exception):
    """A tool failed; the message has its last words."""


def build_demo_disk(out: Path, cache: Path) -> Path:
    """Build the disk at `out` (qcow2, compressed). `cache` keeps the unpacked packages. Takes seconds; needs root.

    Raises `packages.NoPackages` when Debian's packages can't be had, BuildError when a tool fails.
    """
    material = packages.guest_packages(cache)
    try:
        kernel = next((material / "boot").glob("vmlinuz-*"))
        modules = Modules(next(d for m in ("lib", "usr/lib") for d in (material / m / "modules").glob("*")))
    except StopIteration:
        raise BuildError(f"{material} holds no kernel; delete it and try again") from None
    with TemporaryDirectory(dir=out.parent, prefix=".demo-") as scratch:
        work = Path(scratch)
        tree = work / "root"
        tree.mkdir(mode=0o755)
        rootfs.populate(tree, material, modules)
        (work / "initrd.img").write_bytes(rootfs.initramfs(material, modules))
        (work / "linux").write_bytes(unpacked(kernel.read_bytes()))
        (work / "bios.cfg").write_text(_SYSLINUX % "linux")
        (work / "efi.cfg").write_text(_SYSLINUX % "vmlinuz")
        _boot_file_system(work / "boot.img", work, kernel, material)
        _root_file_system(work / "root.img", tree)
        _assemble(work / "disk.img", work / "boot.img", work / "root.img", material)
        fresh = work / "disk.qcow2"
        _run("qemu-img", "convert", "-c", "-O", "qcow2", work / "disk.img", fresh)
        fresh.replace(out)
    return out


def build_demo_disk_cached(cache: Path) -> Path:
    """The disk in `cache`, built unless it was built there by this very version of the builder. Needs root."""
    out = cache / f"cirros-{_fingerprint()}.qcow2"
    if not out.exists():
        cache.mkdir(parents=True, exist_ok=True)
        for older in cache.glob("cirros-*.qcow2"):
            older.unlink()
        build_demo_disk(out, cache)
    return out


def _fingerprint() -> str:
    """What the disk depends on, but for the packages: the code and the scripts of this package."""
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted([*package.glob("*.py"), *(package / "guest").iterdir()]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _run(*command: str | Path) -> None:
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    program = shutil.which(command[0], path=path)
    if program is None:
        raise BuildError(f"the program {command[0]} is missing; `make setup` installs it")
    environment = os.environ | {"MTOOLS_SKIP_CHECK": "1", "LC_ALL": "C"}
    done = subprocess.run(
        [program, *command[1:]], capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL, check=False
    )
    if done.returncode:
        raise BuildError(f"{command[0]} failed: {(done.stderr or done.stdout).strip()[-500:]}")


def _boot_file_system(image: Path, work: Path, kernel: Path, material: Path) -> None:
    _allocate(image, _BOOT_MIB)
    # mformat must know where the partition will be: BIOS boot code reads the number of hidden sectors
    size = str(_BOOT_MIB * _PER_MIB)
    _run("mformat", "-i", image, "-v", "KUMOBOOT", "-T", size, "-h", "16", "-s", "63", "-H", str(_PER_MIB), "::")
    _run("mmd", "-i", image, "::/EFI", "::/EFI/BOOT", "::/syslinux")
    efi = material / "usr/lib"
    for source, target in (
        (kernel, "vmlinuz"),
        (work / "initrd.img", "initrd.img"),
        (work / "linux", "linux"),
        (work / "bios.cfg", "syslinux/syslinux.cfg"),
        (work / "efi.cfg", "EFI/BOOT/syslinux.cfg"),
        (efi / "SYSLINUX.EFI/efi64/syslinux.efi", "EFI/BOOT/BOOTX64.EFI"),
        (efi / "syslinux/modules/efi64/ldlinux.e64", "EFI/BOOT/ldlinux.e64"),
    ):
        _run("mcopy", "-i", image, source, f"::/{target}")
    _run("syslinux", "--install", "--directory", "/syslinux", image)


def _root_file_system(image: Path, tree: Path) -> None:
    _allocate(image, _ROOT_MIB)
    # resize= reserves what growing to 64 GiB while mounted needs
    extended = "resize=64G,lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0"
    features = "^metadata_csum,resize_inode"
    options = ["-q", "-F", "-L", rootfs.LABEL, "-O", features, "-E", extended, "-J", "size=4", "-m", "0", "-I", "256"]
    _run("mkfs.ext4", *options, "-d", tree, image)


def _allocate(image: Path, mebibytes: int) -> None:
    with image.open("wb") as file:
        file.truncate(mebibytes * 1024 * 1024)


def _assemble(disk: Path, boot: Path, root: Path, material: Path) -> None:
    code = (material / "usr/lib/syslinux/mbr/mbr.bin").read_bytes()
    record = bytearray(code.ljust(_SECTOR, b"\0")[:_SECTOR])
    first = _PER_MIB
    second = first + _BOOT_MIB * _PER_MIB
    partitions = ((0x80, 0xEF, first, _BOOT_MIB * _PER_MIB), (0, 0x83, second, _ROOT_MIB * _PER_MIB))
    for number, (active, kind, start, length) in enumerate(partitions):
        # cylinders, heads and sectors say "see the block numbers"
        entry = struct.pack("<B3sB3sII", active, b"\xfe\xff\xff", kind, b"\xfe\xff\xff", start, length)
        record[446 + 16 * number : 462 + 16 * number] = entry
    record[510:512] = b"\x55\xaa"
    with disk.open("wb") as out:
        out.write(record)
        for image, start in ((boot, first), (root, second)):
            out.seek(start * _SECTOR)
            with image.open("rb") as source:
                shutil.copyfileobj(source, out, 1 << 20)
