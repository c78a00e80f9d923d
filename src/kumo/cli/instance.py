"""One instance of kumo: its directory, its names and its ranges, chosen once at first start and kept.

Several instances live side by side on a machine: everything that is named in the kernel or takes a port or a range of
addresses is derived here from the data directory. Standard library only: the supervisor uses it too.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import re
import socket
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from kumo.api.pod_ranges import range6
from kumo.cli.own_address import node_address
from kumo.host.delegation import pods_group
from kumo.machinery.files import write_file

DEFAULT_DATA_DIR = Path("/var/lib/kumo")
DEFAULT_PORT = 6443
DEFAULT_NODE_PORT = 10250
SOCKET_PATH_LIMIT = 107
"""Bytes of a unix socket's path (unix(7))."""
_LONGEST_SOCKET = "containerd/c.sock.ttrpc"


class InstanceError(Exception):
    """What keeps the instance from starting, and the fix, in one message."""


@dataclass(frozen=True, slots=True)
class Instance:
    """The choices of one instance. Paths are properties; ranges are CIDR strings."""

    data_dir: str
    id: str
    port: int
    node_port: int
    node_name: str
    pod_cidr: str
    node_pod_cidr: str
    service_cidr: str
    """The range of services, or an IPv4 and an IPv6 one by comma."""
    mirrors: dict[str, str]
    """Registry host -> URL of the mirror that serves it (plain HTTP only for loopback)."""
    etcd: dict[str, str] = field(default_factory=dict)
    """The store, if it is etcd: its `url`, and the files `ca`, `cert` and `key`; empty for the one in a file here."""
    server: str = ""
    """The URL of the API server that this machine has joined as a node; empty where the control plane is here."""
    bind_address: str = ""
    """Where the API server listens; empty: everywhere."""
    advertise_address: str = ""
    """Where others reach the API server, and the node; empty: as `own_address` finds."""
    tls_names: str = ""
    """Further names and addresses that the API server's certificate is for, by comma."""
    cni_conf: str = ""
    """A directory of CNI configurations that the pod network is left to; empty: kumo's own network."""
    monitor_grace: float = 0.0
    """For how many seconds a node may be silent; 0: as upstream."""
    cluster_capabilities: str = ""
    """Where launchers expect libvirt's capabilities, if the cluster joined says another directory than our own."""
    autoscaler_sync: float = 0.0
    """Seconds between two looks of an autoscaler; 0: as upstream."""
    metric_resolution: float = 0.0
    """Seconds between two looks at what nodes and pods use; 0: as upstream."""
    load_balancer_range: str = ""
    """The ranges of load balancers' addresses by comma, or `none`; empty: `default_balancer_range`."""
    node_port_addresses: str = ""
    """The ranges, by comma, of the node's addresses that serve node ports; empty: all."""
    overlay_family: str = ""
    """By which addresses nodes reach each other for pods' packets: `ipv6`; empty: IPv4."""
    node_labels: str = ""
    """Labels of this machine's Node: `key=value,...`."""
    node_taints: str = ""
    """Taints that this machine's Node is made with: `key=value:effect,...`."""

    @property
    def root(self) -> Path:
        """The data directory."""
        return Path(self.data_dir)

    @property
    def pki_dir(self) -> Path:
        """Certificates and keys."""
        return self.root / "pki"

    @property
    def run_dir(self) -> Path:
        """Sockets, the lock, the plan."""
        return self.root / "run"

    @property
    def log_dir(self) -> Path:
        """One log a process."""
        return self.root / "logs"

    @property
    def store_path(self) -> Path:
        """The SQLite store."""
        return self.root / "store" / "kumo.db"

    @property
    def containerd_dir(self) -> Path:
        """containerd's configuration, images and state."""
        return self.root / "containerd"

    @property
    def containerd_socket(self) -> Path:
        """containerd's gRPC socket."""
        return self.containerd_dir / "c.sock"

    @property
    def node_dir(self) -> Path:
        """Pod volumes, pod logs, device nodes, address leases."""
        return self.root / "node"

    @property
    def images_dir(self) -> Path:
        """The bytes of uploaded images."""
        return self.root / "images"

    @property
    def notify_socket(self) -> Path:
        """Where the processes report their steps to the supervisor."""
        return self.run_dir / "notify.sock"

    @property
    def kvm_path(self) -> Path:
        """Whether guests run on hardware here, as found when the instance was started (`kumo.host.kvm.recorded`)."""
        return self.run_dir / "kvm.json"

    @property
    def lock_path(self) -> Path:
        """Held by the supervisor while it runs; its content is the pid."""
        return self.run_dir / "kumo.lock"

    @property
    def waiting_path(self) -> Path:
        """What a process that can't go on has said it waits for; there only while that is so."""
        return self.run_dir / "waiting"

    @property
    def plan_path(self) -> Path:
        """The processes that the supervisor runs."""
        return self.run_dir / "plan.json"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.root / "admin.kubeconfig"

    @property
    def clouds_yaml(self) -> Path:
        """The administrator's clouds.yaml for OpenStack clients."""
        return self.root / "clouds.yaml"

    @property
    def bridge(self) -> str:
        """The pods' bridge."""
        return f"kumo{self.id}"

    @property
    def overlay(self) -> str:
        """The device that leads to other nodes' pods."""
        return f"kumo{self.id}v"

    @property
    def table_prefix(self) -> str:
        """What every nftables table of this instance begins with."""
        return f"kumo-{self.id}"

    @property
    def cgroup_root(self) -> str:
        """The cgroup below which all pods live."""
        return pods_group(self.id)

    @property
    def service_cidr4(self) -> str:
        """The IPv4 range of services."""
        return self.service_cidr.partition(",")[0]

    @property
    def service_cidr6(self) -> str:
        """The IPv6 range of services; empty without one."""
        return self.service_cidr.partition(",")[2]

    @property
    def pod_cidr6(self) -> str:
        """The IPv6 range of all nodes' pods (RFC 4193), the same on every node; empty where services have none."""
        if not self.service_cidr6:
            return ""
        digest = hashlib.sha256(f"pods of {self.service_cidr6}".encode()).digest()
        return str(ipaddress.IPv6Network((b"\xfd" + digest[:5] + bytes(10), 48)))

    @property
    def node_pod_cidr6(self) -> str:
        """This node's part of `pod_cidr6`: a /64 with the number that `node_pod_cidr` has among its like."""
        if not self.pod_cidr6:
            return ""
        return str(range6(self.node_pod_cidr, self.pod_cidr, self.pod_cidr6))

    @property
    def balancer_ranges(self) -> tuple[str, ...]:
        """The ranges that load balancers get addresses of; none where another controller gives them."""
        if self.load_balancer_range == "none":
            return ()
        return tuple((self.load_balancer_range or default_balancer_range(self.id)).split(","))

    @property
    def cluster_dns(self) -> str:
        """The cluster IP of the DNS service: the tenth of the service range, as upstream's installers choose."""
        return str(ipaddress.ip_network(self.service_cidr4)[10])

    @property
    def kubernetes_ip(self) -> str:
        """The cluster IP of the service `kubernetes`: the first of the service range."""
        return str(ipaddress.ip_network(self.service_cidr4)[1])

    @property
    def url(self) -> str:
        """Where clients on this machine reach the API server."""
        if self.server:
            return self.server
        return f"https://{self.bind_address or '127.0.0.1'}:{self.port}"

    @property
    def joined(self) -> bool:
        """Whether this is a node of a cluster whose control plane is elsewhere."""
        return bool(self.server)

    @property
    def address(self) -> str:
        """The address that others reach this machine by; one without a network has its pods' side of the bridge."""
        return self.advertise_address or node_address() or self._gateway

    @property
    def _gateway(self) -> str:
        return "127.0.0.1" if self.cni_conf else str(ipaddress.ip_network(self.node_pod_cidr)[1])

    @property
    def lease_seconds(self) -> float:
        """How often nodes renew their leases: as upstream, and four times in a shorter grace period."""
        return min(10.0, self.monitor_grace / 4) if self.monitor_grace else 10.0


def load(data_dir: Path) -> Instance | None:
    """The instance that lives in the directory, or None. Raises InstanceError when its file can't be read."""
    path = data_dir / "instance.json"
    try:
        found = Instance(**json.loads(path.read_text()))
        moved = not found.root.is_dir() or not found.root.samefile(data_dir)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise InstanceError(f"only root may read {path}. Run it as root: sudo kumo ...") from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InstanceError(
            f"{path} can't be read as an instance's settings: {error}. Restore it, or remove the instance with "
            f"'kumo reset --data-dir {data_dir}'"
        ) from error
    if moved:
        raise InstanceError(
            f"{data_dir} was copied or moved from {found.data_dir}, whose name is in everything it holds. Move it back "
            f"(or mount it there), or delete the copy by hand"
        )
    return found


def choose(data_dir: Path, *, port: int | None = None, node_name: str = "") -> Instance:
    """The instance of the directory, or fresh choices if there is none; writes nothing. Raises InstanceError."""
    data_dir = data_dir.absolute()
    _refuse_impossible(data_dir)
    found = load(data_dir)
    if found is None:
        return _choose(data_dir, port or DEFAULT_PORT, node_name or _host_name())
    if node_name and node_name != found.node_name:
        raise InstanceError(
            f"the node of {data_dir} is called {found.node_name!r} since its first start, and its pods and VMs are "
            f"bound to it. Leave --node-name out, or start anew with 'kumo reset'"
        )
    if port is not None and port != found.port:
        found = replace(found, port=port, node_port=_node_port(port))
    return found


def choose_anew(data_dir: Path, port: int, node_name: str) -> Instance:
    """Fresh choices for the directory, whatever is in it. Raises InstanceError when it can't be a data directory."""
    _refuse_impossible(data_dir)
    return _choose(data_dir, port, node_name)


def lost(data_dir: Path) -> Instance | None:
    """The instance of a directory whose settings can't be understood, else None: names follow from the path."""
    try:
        Instance(**json.loads((data_dir / "instance.json").read_text()))
    except (ValueError, TypeError):
        return _choose(data_dir.absolute(), DEFAULT_PORT, _host_name())
    except OSError:
        return None
    return None


def _refuse_impossible(data_dir: Path) -> None:
    """Raise InstanceError for a path that can't be a data directory."""
    longest = len(os.fsencode(str(data_dir / _LONGEST_SOCKET)))
    if longest > SOCKET_PATH_LIMIT:
        raise InstanceError(
            f"the data directory {data_dir} is too long: its socket paths would have {longest} bytes, the kernel's "
            f"limit is {SOCKET_PATH_LIMIT}. Choose a shorter --data-dir"
        )
    above = next(p for p in (data_dir, *data_dir.parents) if p.exists())
    if not above.is_dir():
        raise InstanceError(f"{above} is a file, so {data_dir} can't be a directory. Choose another --data-dir")


def save(instance: Instance) -> None:
    """Write the instance's settings, whole or not at all, for root only. Raises InstanceError."""
    text = json.dumps(asdict(instance), indent=2) + "\n"
    try:
        instance.root.mkdir(parents=True, exist_ok=True, mode=0o755)
        write_file(instance.root / "instance.json", text.encode())
    except OSError as error:
        raise InstanceError(
            f"{instance.root} can't be written: {error.strerror}. Make room there, or choose another --data-dir"
        ) from error


def _choose(data_dir: Path, port: int, node_name: str) -> Instance:
    if data_dir == DEFAULT_DATA_DIR:
        identity, pods, services = "0", 244, 96
    else:
        digest = hashlib.sha256(os.fsencode(str(data_dir))).digest()
        identity = digest[:3].hex()
        # Ranges of their own, so that two instances' services and pods never answer for each other.
        pods, services = _free_second_octet(128, 112, digest[3]), _free_second_octet(32, 60, digest[4])
    return Instance(
        data_dir=str(data_dir),
        id=identity,
        port=port,
        node_port=_node_port(port),
        node_name=node_name,
        pod_cidr=f"10.{pods}.0.0/16",
        node_pod_cidr=f"10.{pods}.1.0/24",
        service_cidr=f"10.{services}.0.0/16",
        mirrors={},
    )


def default_balancer_range(identity: str) -> str:
    """A range beside those that any instance's pods and services have (`_choose`)."""
    digest = hashlib.sha256(identity.encode()).digest()
    return f"10.{92 + digest[0] % 4}.{digest[1]}.0/24"


def _node_port(port: int) -> int:
    return DEFAULT_NODE_PORT if port == DEFAULT_PORT else port + 1


def _free_second_octet(first: int, count: int, seed: int) -> int:
    taken = _routed_second_octets()
    candidates = [first + (seed + step) % count for step in range(count)]
    return next((c for c in candidates if c not in taken), candidates[0])


def _routed_second_octets() -> set[int]:
    """The x of every 10.x.0.0 route of this machine (from /proc/net/route: addresses are little-endian hex)."""
    try:
        lines = Path("/proc/net/route").read_text().splitlines()[1:]
    except OSError:
        return set()
    addresses = [bytes.fromhex(line.split()[1])[::-1] for line in lines]
    return {a[1] for a in addresses if a[0] == 10}


def _host_name() -> str:
    name = re.sub(r"[^a-z0-9.-]+", "-", socket.gethostname().lower()).strip("-.")
    return name or "node1"
