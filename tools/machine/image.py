"""Build a Debian machine's disk from the archive that this machine's apt uses, with the repository set up in it.

Everything is installed here, at this processor's speed, by `chroot`; the guest, whose processor is emulated, only runs
it. Python packages are fetched by this machine's pip for the guest's Python, so that the guest needs no network.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kumo.host.demo.debian import mirror

ROOT = Path(__file__).resolve().parents[2]
HOME = "root/kumo"
"""Where the repository is in the guest, below its root."""
_SYSTEM = (
    "systemd-sysv", "dbus", "udev", "libpam-systemd", "openssh-server", "git", "make", "linux-image-amd64", "apparmor",
    "apparmor-utils", "lksctp-tools", "busybox-static", "nfs-common", "nfs-kernel-server",
)  # fmt: skip
_NETWORK = "[Match]\nName=en*\n[Network]\nDHCP=yes\n"
_DEMO = (
    "from pathlib import Path; from kumo.host.demo import build_demo_disk_cached, busybox_image; "
    "kept = Path('.cache/demo').absolute(); busybox_image(kept); build_demo_disk_cached(kept)"
)
"""Makes the demo images' material beforehand: the guest reaches no archive."""
_REQUIREMENTS = ("dev", "openstack", "kubernetes-clients")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a machine's parts lie, below `directory`."""

    directory: Path
    suite: str

    @property
    def tree(self) -> Path:
        """The root file system as a directory."""
        return self.directory / "root"

    @property
    def disk(self) -> Path:
        """The root file system as a raw disk image."""
        return self.directory / "disk.img"

    @property
    def key(self) -> Path:
        """The private key that root of the guest lets in."""
        return self.directory / "key"

    @property
    def kernel(self) -> Path:
        """The kernel; the initial file system lies beside it."""
        return self.directory / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """The initial file system."""
        return self.directory / "initrd.img"


def build(layout: Layout, *, gigabytes: int) -> None:
    """Make the tree, set the repository up in it, and make the disk of it. Raises CalledProcessError."""
    layout.directory.mkdir(parents=True, exist_ok=True)
    if not layout.tree.exists():
        bootstrap(layout)
    configure(layout)
    set_up(layout)
    pack(layout, gigabytes)


def bootstrap(layout: Layout) -> None:
    """The bare machine and every Debian package that kumo wants."""
    wanted = [w for w in (ROOT / "tools/setup/packages.txt").read_text().splitlines() if w and not w.startswith("#")]
    fresh = layout.tree.with_suffix(".new")
    _run("rm", "-rf", "--one-file-system", str(fresh))
    packages = ",".join([*_SYSTEM, *wanted])
    options = ["--mode=root", "--variant=apt", f"--include={packages}", *(f"--aptopt={line}" for line in _apt_checks())]
    _run("mmdebstrap", *options, layout.suite, str(fresh), mirror())
    fresh.rename(layout.tree)


def configure(layout: Layout) -> None:
    """Names, network, and a key for root; nothing of it is kumo's."""
    tree = layout.tree
    (tree / "etc/hostname").write_text("machine\n")
    (tree / "etc/hosts").write_text("127.0.0.1 localhost\n127.0.1.1 machine\n::1 localhost ip6-localhost\n")
    (tree / "etc/fstab").write_text("/dev/vda / ext4 defaults 0 1\n")
    (tree / "etc/apt/apt.conf.d/99machine").write_text("".join(f"{line}\n" for line in _apt_checks()))
    (tree / "etc/systemd/network/80-wired.network").write_text(_NETWORK)
    for daemon in ("containerd", "libvirtd", "haproxy", "etcd"):  # as `make setup` leaves a machine with systemd
        _inside(layout, "systemctl", "disable", daemon, check=False)
    _inside(layout, "systemctl", "enable", "systemd-networkd", "ssh")
    if not layout.key.exists():
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(layout.key))
    keys = tree / "root/.ssh/authorized_keys"
    keys.parent.mkdir(mode=0o700, exist_ok=True)
    shutil.copy(layout.key.with_suffix(".pub"), keys)
    for name, target in (("vmlinuz", layout.kernel), ("initrd.img", layout.initrd)):
        shutil.copy(max((tree / "boot").glob(f"{name}-*")), target)


def set_up(layout: Layout) -> None:
    """Clone the repository into the tree and run `make setup` there, as a new user does."""
    home = layout.tree / HOME
    if home.exists():
        _run("git", "-C", str(home), "pull", "-q", "--ff-only", str(ROOT), "HEAD")
    else:
        _run("git", "clone", "-q", str(ROOT), str(home))
    wheels = layout.directory / "wheels"
    _fetch_wheels(layout, wheels)
    kubectl = shutil.which("kubectl", path=f"{ROOT / '.clients/bin'}:{os.environ['PATH']}")
    if kubectl:
        shutil.copy(kubectl, layout.tree / "usr/local/bin/kubectl")
    with _mounted(layout, wheels):
        settings = ("PIP_NO_INDEX=1", "PIP_FIND_LINKS=/mnt", "HOME=/root", f"PATH={_PATH}")
        _inside(layout, "apt-get", "update", "-q")
        _inside(layout, "env", "-i", *settings, "make", "-C", f"/{HOME}", "setup")
        _inside(layout, "env", "-C", f"/{HOME}", "-i", *settings, ".venv/bin/python", "-c", _DEMO)


def pack(layout: Layout, gigabytes: int) -> None:
    """Make the disk of the tree."""
    layout.disk.unlink(missing_ok=True)
    _run("truncate", "-s", f"{gigabytes}G", str(layout.disk))
    _run("mke2fs", "-q", "-t", "ext4", "-d", str(layout.tree), str(layout.disk))


_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def _apt_checks() -> list[str]:
    """What this machine's apt has been told about the age of archives (a snapshot's is any)."""
    done = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if line.startswith("Acquire::Check-")]


def _fetch_wheels(layout: Layout, target: Path) -> None:
    """What pip will want in the guest, for its version of Python."""
    version = next(p.name for p in (layout.tree / "usr/lib").glob("python3.*"))
    release = re.sub("^python", "", version)
    target.mkdir(exist_ok=True)
    command = [str(ROOT / ".venv/bin/python"), "-m", "pip", "download", "-q", "-d", str(target)]
    for name in _REQUIREMENTS:
        only = ["--only-binary=:all:", "--python-version", release, "--no-deps"]
        _run(*command, *only, "-r", str(ROOT / f"requirements/{name}.txt"))
    _run(*command, "hatchling", "editables")


@contextlib.contextmanager
def _mounted(layout: Layout, wheels: Path) -> Iterator[None]:
    """The tree with what a chroot needs."""
    tree, resolver = layout.tree, layout.tree / "etc/resolv.conf"
    mounts = [("/proc", tree / "proc"), ("/dev", tree / "dev"), (str(wheels), tree / "mnt")]
    resolver.unlink(missing_ok=True)
    shutil.copy("/etc/resolv.conf", resolver)
    try:
        for source, target in mounts:
            _run("mount", "--bind", source, str(target))
        yield
    finally:
        for _, target in mounts:
            subprocess.run(["umount", str(target)], check=False, capture_output=True)
        resolver.unlink(missing_ok=True)


def _inside(layout: Layout, *argv: str, check: bool = True) -> None:
    environment = {"PATH": _PATH, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["chroot", str(layout.tree), *argv], check=check, env=environment, stdin=subprocess.DEVNULL)


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, env=os.environ | {"LC_ALL": "C"}, stdin=subprocess.DEVNULL)
