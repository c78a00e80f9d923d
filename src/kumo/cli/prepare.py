"""What an instance needs before its processes start: certificates, directories, configuration, the plan."""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from kumo.api.node_components import CSI_USER, DNS_USER, PROXY_USER, VIRT_NAMESPACE, VIRT_USER
from kumo.cli.instance import Instance, InstanceError
from kumo.cli.supervisor import Process
from kumo.kubernetes.ingress.config import USER as INGRESS_USER
from kumo.machinery import tls

STOP_NODE = signal.SIGUSR1
"""Tells the node process to end its pods and virtual machines cleanly and then itself; SIGTERM leaves them running."""


@dataclass(frozen=True, slots=True)
class Pki:
    """The instance's certificates and keys: file pairs, made by `certificates`."""

    ca: Path
    ca_key: Path
    """What the controller manager signs certificate requests with."""
    front_proxy_ca: Path
    front_proxy: tls.KeyPair
    """How the API server proves itself to aggregated ones, and the CA that such proxies are known by."""
    apiserver: tls.KeyPair
    kubelet_client: tls.KeyPair
    """How the API server proves itself to nodes."""
    admin: tls.KeyPair
    node_server: tls.KeyPair
    node: tls.KeyPair
    kube_proxy: tls.KeyPair
    dns: tls.KeyPair
    csi: tls.KeyPair
    ingress: tls.KeyPair
    ingress_server: tls.KeyPair
    """What is shown to those who ask for a host that no Ingress has a certificate for."""
    virt_handler: tls.KeyPair
    signing_key: Path


def certificates(instance: Instance) -> Pki:
    """Every certificate and key, made or renewed where needed."""
    directory, address = instance.pki_dir, instance.address
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    ca = tls.ensure_ca(directory)
    proxies = tls.ensure_ca(directory, "front-proxy-ca", "front-proxy-ca")
    names = [instance.node_name, address, instance.bind_address, instance.kubernetes_ip, *instance.tls_names.split(",")]

    def client(name: str, user: str, *groups: str) -> tls.KeyPair:
        return tls.ensure_client_certificate(ca, directory, name, user, groups)

    return Pki(
        ca=ca.files.cert,
        ca_key=ca.files.key,
        front_proxy_ca=proxies.files.cert,
        front_proxy=tls.ensure_client_certificate(proxies, directory, "front-proxy-client", "front-proxy-client"),
        apiserver=tls.ensure_server_certificate(ca, directory, names=names),
        kubelet_client=client("apiserver-kubelet-client", "kube-apiserver-kubelet-client", "system:masters"),
        admin=client("admin", "kubernetes-admin", "system:masters"),
        node_server=tls.ensure_certificate(
            ca,
            directory,
            "node-server",
            common_name=f"system:node:{instance.node_name}",
            organizations=("system:nodes",),
            names=(instance.node_name, address, "127.0.0.1"),
            server=True,
            client=False,
        ),
        node=client("node", f"system:node:{instance.node_name}", "system:nodes"),
        kube_proxy=client("kube-proxy", PROXY_USER),
        dns=client("dns", DNS_USER),
        csi=client("csi", CSI_USER),
        ingress=client("ingress", INGRESS_USER),
        ingress_server=tls.ensure_certificate(
            ca,
            directory,
            "ingress-server",
            common_name="kumo Ingress",
            names=("ingress.local",),
            server=True,
            client=False,
        ),
        virt_handler=client(
            "virt-handler",
            VIRT_USER,
            "system:serviceaccounts",
            f"system:serviceaccounts:{VIRT_NAMESPACE}",
        ),
        signing_key=tls.ensure_signing_key(directory / "sa.key"),
    )


def directories(instance: Instance) -> None:
    """The instance's directories, for root only unless pods need them."""
    for path in (instance.run_dir, instance.log_dir, instance.store_path.parent, instance.images_dir):
        path.mkdir(parents=True, exist_ok=True, mode=0o700)


def plan(instance: Instance, *, node: bool) -> list[Process]:
    """The processes of the instance, in the order of their start."""

    def own(name: str, module: str, after: str, stop_signal: int) -> Process:
        argv = [sys.executable, "-m", module, instance.data_dir]
        # gRPC's handlers for fork are for programs that go on using it in the child; we only ever exec.
        env = {"GRPC_ENABLE_FORK_SUPPORT": "0", "GRPC_VERBOSITY": "NONE"}
        if name == "node":  # What its threads have freed serves the others: an arena for each costs it 30 MiB.
            env["MALLOC_ARENA_MAX"] = "1"
        return Process(name, argv, env, after=after, reports=True, stop_signal=stop_signal)

    if instance.joined:
        return [_containerd_process(instance), own("node", "kumo.cli.node", "", STOP_NODE)]
    found = [own("control-plane", "kumo.cli.control_plane", "", signal.SIGTERM)]
    if node:
        found.insert(0, _containerd_process(instance))
        found.append(own("node", "kumo.cli.node", "control-plane", STOP_NODE))
    return found


def _containerd_process(instance: Instance) -> Process:
    from kumo.cli import engines  # gRPC is wanted only where there is a node
    from kumo.host.containerd import config, process

    try:
        argv, env = process.command(engines.containerd(instance))
    except (config.NotInstalled, ValueError) as error:
        raise InstanceError(str(error)) from error
    return Process("containerd", argv, env, after="", reports=False, stop_signal=signal.SIGTERM)
