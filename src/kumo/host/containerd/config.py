"""containerd's configuration file, for the version and the kernel that this machine has.

Version 2 of the format for containerd 1.6 and 1.7, version 3 for 2.x. `detect` looks at the machine, `render` is pure.
"""

from __future__ import annotations

import ipaddress
import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from kumo.host import mounts, processes

_UNUSED = [
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.snapshotter.v1.blockfile",
    "io.containerd.snapshotter.v1.erofs",
    "io.containerd.tracing.processor.v1.otlp",
    "io.containerd.internal.v1.tracing",
    "io.containerd.nri.v1.nri",
]
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Machine:
    """What the configuration has to know of the machine."""

    version: tuple[int, int]
    """containerd's, major and minor."""
    containerd: str
    runc: str
    restrict_oom: bool = False
    """Processes may not lower oom_score_adj (no CAP_SYS_RESOURCE): without this every sandbox fails to start."""
    hugetlb: bool = True
    apparmor: bool = False
    overlay: bool = True


@dataclass(frozen=True, slots=True)
class ContainerdConfig:
    """One instance of containerd. All it keeps is below `directory`."""

    directory: Path
    cni_conf_dir: Path
    cni_bin_dir: Path
    """Must hold `loopback` and the plugins that the configurations in `cni_conf_dir` name."""
    sandbox_image: str
    mirrors: Mapping[str, str] = field(default_factory=dict)
    """Registry host (or `_default`) -> URL to ask instead. Plain HTTP only on a loopback address."""
    log_level: str = "warn"

    @property
    def socket(self) -> Path:
        """Where it answers."""
        return self.directory / "c.sock"

    @property
    def file(self) -> Path:
        """The configuration file."""
        return self.directory / "config.toml"


class NotInstalled(Exception):
    """A program that the node needs is missing; the message says which and how to get it."""


def detect(directory: Path) -> Machine:
    """Look at the machine; `directory` is where images will be kept. Raises NotInstalled."""
    containerd = shutil.which("containerd", path=_PATH)
    runc = shutil.which("runc", path=_PATH)
    if not containerd or not runc:
        missing = "containerd" if not containerd else "runc"
        raise NotInstalled(f"{missing} is not installed; on Debian or Ubuntu: apt-get install containerd runc")
    text = subprocess.run([containerd, "--version"], capture_output=True, text=True, check=True).stdout
    return Machine(
        version=parse_version(text),
        containerd=containerd,
        runc=runc,
        restrict_oom=not processes.has_capability(processes.CAP_SYS_RESOURCE),
        hugetlb=_controller("hugetlb"),
        apparmor=has_apparmor(),
        overlay=_overlay_works(directory),
    )


def parse_version(text: str) -> tuple[int, int]:
    """Major and minor from what `containerd --version` prints. Raises ValueError if there is none."""
    found = re.search(r"\bv?(\d+)\.(\d+)\.\d+", text)
    if found is None:
        raise ValueError(f"no version in {text!r}")
    return int(found[1]), int(found[2])


def render(config: ContainerdConfig, machine: Machine) -> str:
    """The configuration file (TOML)."""
    shared: dict[str, Any] = {
        "version": 2 if machine.version < (2, 0) else 3,
        "root": str(config.directory / "root"),
        "state": str(config.directory / "state"),
        "disabled_plugins": _UNUSED,
        "oom_score": 0,
        "grpc": {"address": str(config.socket)},
        "ttrpc": {"address": str(config.directory / "c.ttrpc")},
        "debug": {"level": config.log_level},
    }
    snapshotter = "overlayfs" if machine.overlay else "native"
    runtimes = {
        "default_runtime_name": "runc",
        "runtimes": {
            "runc": {
                "runtime_type": "io.containerd.runc.v2",
                "options": {
                    "BinaryName": machine.runc,
                    "SystemdCgroup": False,
                    "Root": str(config.directory / "runc"),
                },
            }
        },
    }
    behaviour = {
        "restrict_oom_score_adj": machine.restrict_oom,
        "disable_apparmor": not machine.apparmor,
        "enable_unprivileged_ports": True,
        "enable_unprivileged_icmp": True,
        "max_container_log_line_size": 262144,
        "tolerate_missing_hugetlb_controller": True,
        "disable_hugetlb_controller": not machine.hugetlb,
        # Among the instance's own files one can tell whose a namespace is that nobody uses any more.
        "netns_mounts_under_state_dir": True,
    }
    streaming = {
        "disable_tcp_service": True,
        "stream_server_address": "127.0.0.1",
        "stream_server_port": "0",
    }
    registry = {"config_path": str(config.directory / "certs.d")}
    plugins: dict[str, Any] = {"io.containerd.internal.v1.opt": {"path": str(config.directory / "opt")}}
    if machine.version < (2, 0):
        plugins["io.containerd.grpc.v1.cri"] = {
            "sandbox_image": config.sandbox_image,
            **streaming,
            **behaviour,
            "containerd": {"snapshotter": snapshotter, "discard_unpacked_layers": False, **runtimes},
            "cni": {"bin_dir": str(config.cni_bin_dir), "conf_dir": str(config.cni_conf_dir)},
            "registry": registry,
        }
    else:
        plugins["io.containerd.cri.v1.images"] = {
            "snapshotter": snapshotter,
            "discard_unpacked_layers": False,
            "pinned_images": {"sandbox": config.sandbox_image},
            "registry": registry,
        }
        plugins["io.containerd.cri.v1.runtime"] = {
            **behaviour,
            "containerd": runtimes,
            "cni": {"bin_dirs": [str(config.cni_bin_dir)], "conf_dir": str(config.cni_conf_dir)},
        }
        plugins["io.containerd.grpc.v1.cri"] = streaming
    return to_toml({**shared, "plugins": plugins})


def configured_snapshotter(file: Path) -> str:
    """The snapshotter that a configuration written by `write` names; `overlayfs` if there is no such file."""
    try:
        plugins = tomllib.loads(file.read_text()).get("plugins") or {}
    except (OSError, tomllib.TOMLDecodeError):
        return "overlayfs"
    old = (plugins.get("io.containerd.grpc.v1.cri") or {}).get("containerd") or {}
    new = plugins.get("io.containerd.cri.v1.images") or {}
    return str(old.get("snapshotter") or new.get("snapshotter") or "overlayfs")


def hosts_toml(host: str, url: str) -> str:
    """`hosts.toml` that sends pulls from registry `host` to `url` first. Raises ValueError for a URL that won't do."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"the mirror of {host} must be an http:// or https:// URL, not {url!r}")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ValueError(f"the mirror of {host} may use plain http only on a loopback address, not {url!r}")
    upstream = "https://registry-1.docker.io" if host == "docker.io" else f"https://{host}"
    document: dict[str, Any] = {"server": url if host == "_default" else upstream}
    return to_toml({**document, "host": {url: {"capabilities": ["pull", "resolve"]}}})


def write(config: ContainerdConfig, machine: Machine) -> None:
    """Make the instance's directories and write its configuration."""
    for part in ("root", "state", "opt", "certs.d"):
        (config.directory / part).mkdir(parents=True, exist_ok=True)
    config.directory.chmod(0o711)
    config.file.write_text(render(config, machine))
    certs = config.directory / "certs.d"
    for old in certs.iterdir():
        if old.name not in config.mirrors:
            shutil.rmtree(old)
    for host, url in config.mirrors.items():
        (certs / host).mkdir(exist_ok=True)
        (certs / host / "hosts.toml").write_text(hosts_toml(host, url))


def to_toml(document: Mapping[str, Any], path: tuple[str, ...] = ()) -> str:
    """Render nested tables of strings, numbers, booleans and lists as TOML."""
    lines = [f"{_key(k)} = {json.dumps(v)}" for k, v in document.items() if not isinstance(v, Mapping)]
    head = f"[{'.'.join(_key(p) for p in path)}]\n" if path and lines else ""
    text = head + "\n".join(lines) + "\n" if lines else ""
    return text + "".join(to_toml(v, (*path, k)) for k, v in document.items() if isinstance(v, Mapping))


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _controller(name: str) -> bool:
    root = Path("/sys/fs/cgroup")
    unified = root / "cgroup.controllers"
    return name in unified.read_text().split() if unified.exists() else (root / name).is_dir()


def has_apparmor() -> bool:
    """Whether the kernel has AppArmor switched on and its parser is installed."""
    try:
        enabled = Path("/sys/module/apparmor/parameters/enabled").read_text().strip() == "Y"
    except OSError:
        return False
    return enabled and shutil.which("apparmor_parser", path=_PATH) is not None


def _overlay_works(directory: Path) -> bool:
    directory.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=directory, prefix=".overlay-") as scratch:
        for part in ("lower", "upper", "work", "merged"):
            (Path(scratch) / part).mkdir()
        options = f"lowerdir={scratch}/lower,upperdir={scratch}/upper,workdir={scratch}/work"
        try:
            mounts.mount("overlay", f"{scratch}/merged", "overlay", data=options)
        except OSError:
            return False
        mounts.unmount(f"{scratch}/merged")
    return True
