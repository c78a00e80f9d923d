"""What virt-controller, virt-handler and virt-launcher agree on about the launcher pod: image, mounts, argv, paths.

virt-controller renders the pod from these; virt-launcher parses the argv and uses the paths; virt-handler reaches the
same paths from the node through `/proc/<pid of PID 1>/root`. Paths and flags are upstream's where upstream has them
(`pkg/virt-controller/services/template.go`, `pkg/util/util.go`); what is kumo's own says so.

The image is kumo's own deviation: it holds empty directories, three symlinks, a tiny `/etc` and one no-op program; the
programs come from the node's `/usr`, read-only, and kumo's package from where the node has it. The host's `/etc` is not
needed and stays out of the pod.
"""

from __future__ import annotations

IMAGE_REPOSITORY = "kumo.dev/virt-launcher"
"""The launcher image is `kumo.dev/virt-launcher:<kumo version>`; the node imports it at start, nobody pulls it."""

UID = 107
"""User and group of everything in the pod (upstream: `util.NonRootUID`, QEMU's user)."""
USER = "qemu"

HOST_USR = "/usr"
"""hostPath and mount path of the node's programs, read-only."""
PACKAGE_ROOT = "/opt/kumo"
PACKAGE_MOUNT = "/opt/kumo/kumo"
"""Where the directory of the package `kumo` is mounted, read-only; `PYTHONPATH` is `PACKAGE_ROOT`."""

CAPABILITIES_DIR = "/opt/kumo/capabilities"
"""Where the node's directory of libvirt's capabilities files is mounted, read-only (kumo's own). virt-handler fills it
at node start; the launcher copies from it, which makes libvirtd ready in 0.1 s instead of 1 s. May be missing."""

PRIVATE_DIR = "/var/run/kubevirt-private"
SHARE_DIR = "/var/run/kubevirt"
EPHEMERAL_DISK_DIR = "/var/run/kubevirt-ephemeral-disks"
CONTAINER_DISK_DIR = "/var/run/kubevirt/container-disks"
IMAGE_VOLUME_DIR = "/var/run/kubevirt-image-volume"
LIBVIRT_RUNTIME_DIR = "/var/run/libvirt"
SOCKETS_DIR = "/var/run/kubevirt/sockets"
HOTPLUG_DIR = "/var/run/kubevirt/hotplug-disks"
LAUNCHER_SOCKET = "/var/run/kubevirt/sockets/launcher-sock"
"""virt-launcher listens here; requests, answers and events are JSON, one a line."""

MODULE = "kumo.kubevirt.virt_launcher"
COMMAND = ("/usr/bin/python3", "-m", MODULE)
"""The compute container's command; its args are those of `virt_controller.launcher_pod` (upstream's flags)."""

OVMF_PATH = "/usr/share/OVMF"
"""Directory of the UEFI firmware in the node's `/usr` (Debian's; upstream's image has /usr/share/edk2/ovmf)."""

COMPUTE = "compute"
CONSOLE_LOG = "guest-console-log"
NO_OP_BINARY = "/usr/bin/container-disk"
"""Path, in the launcher image itself, of the static program that exits with 0: what a container disk's image runs once,
so that the image is pulled and pinned (upstream's `container-disk --no-op`). Below the host's `/usr` in `compute`."""

TCG_CACHE_MIB = 32
"""Translation cache that QEMU gets without KVM (`-accel tcg,tb-size=32`), in MiB. Unset, QEMU takes up to a gigabyte
and really fills 60 MB with a small guest; 32 MiB cost that guest nothing measurable."""

ENVIRONMENT = {
    "HOME": PRIVATE_DIR,
    "XDG_CACHE_HOME": PRIVATE_DIR,
    "XDG_CONFIG_HOME": PRIVATE_DIR,
    "XDG_RUNTIME_DIR": "/var/run",
    "PYTHONPATH": PACKAGE_ROOT,
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
    # Each thread would get a heap of its own, and the launcher's threads sleep.
    "MALLOC_ARENA_MAX": "1",
}
"""Environment of `compute`. `POD_NAME` is added from the pod's name. libvirt's session sockets are thereby in
`/var/run/libvirt`, its configuration and cache in `/var/run/kubevirt-private/libvirt`."""

IMAGE_DIRECTORIES = (
    "dev", "etc", "opt/kumo/capabilities", "opt/kumo/kumo", "proc", "root", "run/kubevirt",
    "run/kubevirt-ephemeral-disks", "run/kubevirt-image-volume", "run/kubevirt-private", "run/libvirt", "sys", "tmp",
    "usr/bin", "var/tmp",
)  # fmt: skip
"""Directories of the image, mode 0755 owned by root; `tmp` and `var/tmp` have mode 1777."""
IMAGE_SYMLINKS = {
    "bin": "usr/bin",
    "lib": "usr/lib",
    "lib64": "usr/lib64",
    "sbin": "usr/sbin",
    "var/run": "../run",
}
"""Symlinks of the image; on a node without merged `/usr/lib64` the loader's link dangles, as it would on the node."""
IMAGE_FILES = {
    "etc/group": f"root:x:0:\n{USER}:x:{UID}:\nnogroup:x:65534:\n",
    "etc/hostname": "",
    "etc/hosts": "127.0.0.1 localhost\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "etc/passwd": f"root:x:0:0:root:/root:/usr/sbin/nologin\n{USER}:x:{UID}:{UID}::{PRIVATE_DIR}:/usr/sbin/nologin\n",
    "etc/resolv.conf": "",
}
"""Text files of the image, mode 0644. Besides them `NO_OP_BINARY` (mode 0755), from `no_op_program`."""


def image_reference(version: str) -> str:
    """The launcher image of that version of kumo."""
    return f"{IMAGE_REPOSITORY}:{version}"


def instance_dir(uid: str) -> str:
    """The private directory of the VMI with that uid, in the pod; the launcher makes it."""
    return f"{PRIVATE_DIR}/{uid}"


def serial_socket(uid: str) -> str:
    """Unix socket of the first serial port (QEMU listens)."""
    return f"{PRIVATE_DIR}/{uid}/virt-serial0"


def serial_log(uid: str) -> str:
    """Everything that the guest wrote to its first serial port, appended; `guest-console-log` follows it."""
    return f"{PRIVATE_DIR}/{uid}/virt-serial0-log"


def vnc_socket(uid: str) -> str:
    """Unix socket of the VNC server (QEMU listens)."""
    return f"{PRIVATE_DIR}/{uid}/virt-vnc"


def image_volume(index: int) -> str:
    """Where the image of the container disk that is number `index` among the VMI's volumes is mounted, read-only."""
    return f"{IMAGE_VOLUME_DIR}/disk_{index}"


def container_disk(index: int) -> str:
    """The disk file of that container disk, as the domain's backing file."""
    return f"{CONTAINER_DISK_DIR}/disk_{index}.img"


def console_log_command(uid: str) -> list[str]:
    """What `guest-console-log` runs: follow the serial log, and end at once when told to.

    `tail` alone would ignore SIGTERM, as PID 1 has no default handlers. The shell waits for the file, as `tail` follows
    by inotify only what is there when it starts, and would look once a second for ever otherwise.
    """
    script = (
        "trap 'kill $!; exit 0' TERM INT; "
        'until [ -e "$0" ]; do sleep 0.2 & wait $!; done; '
        '/usr/bin/tail -n +1 -F "$0" 2>/dev/null & wait'
    )
    return ["/bin/sh", "-c", script, serial_log(uid)]


def no_op_program(machine: str = "x86_64") -> bytes:
    """A static ELF program that exits with 0, for `machine` as `uname -m` says it. Raises KeyError for others.

    Written out here since a container disk's image holds nothing but the disk: there is no shell to run, and building
    a program of one system call needs no compiler.
    """
    number, code = {
        # xor edi, edi; mov eax, 231 (exit_group); syscall
        "x86_64": (62, bytes.fromhex("31ff b8e7000000 0f05")),
        # mov x0, #0; mov x8, #94 (exit_group); svc #0
        "aarch64": (183, bytes.fromhex("000080d2 c80b80d2 010000d4")),
    }[machine]
    base, start, size = 0x400000, 64 + 56, 64 + 56 + len(code)

    def words(*pairs: tuple[int, int]) -> bytes:
        return b"".join(value.to_bytes(length, "little") for value, length in pairs)

    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += words((2, 2), (number, 2), (1, 4), (base + start, 8), (64, 8), (0, 8), (0, 4))
    header += words((64, 2), (56, 2), (1, 2), (64, 2), (0, 2), (0, 2))
    segment = words((1, 4), (5, 4), (0, 8), (base, 8), (base, 8), (size, 8), (size, 8), (0x1000, 8))
    return header + segment + code
