"""What kumo has to do in a whole machine, check by check, each with the machine's own commands. Order matters."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

from machine.guest import Guest, GuestError

_PODS = Path(__file__).with_name("pods.yaml").read_text()
_NFS = Path(__file__).with_name("nfs.yaml").read_text()
_GROUP = "/sys/fs/cgroup/kumo.slice/kumo-0-pods.service/pods"
_SECONDS = 600.0


class CheckFailed(Exception):
    """The machine shows something else than it should; the message holds both."""


def service(guest: Guest) -> None:
    """systemd starts the cloud, is told when it is ready, and gives the pods a delegated unit."""
    guest.run("kumo service install")
    _same(guest.run("systemctl is-active kumo kumo-0-pods").split(), ["active", "active"])
    _like(guest.run("systemctl show kumo -p StatusText"), r"StatusText=Ready in [\d.]+ s\.")
    guest.run("kumo image demo --cache /root/kumo/.cache/demo")


def limits(guest: Guest) -> None:
    """Pods of the three classes have their limits in control groups of version 2; who takes more is OOMKilled."""
    guest.run(f"kubectl apply -f - <<'PODS'\n{_PODS}\nPODS")
    guest.run(f"kubectl wait --for=condition=Ready pod/guaranteed pod/burstable pod/best --timeout={_SECONDS:.0f}s")
    _same(_numbers(guest, "guaranteed", "memory.max cpu.max cpu.weight"), ["67108864", "20000 100000", "8"])
    _same(_numbers(guest, "burstable", "memory.max cpu.max cpu.weight"), ["max", "max 100000", "8"])
    _same(_numbers(guest, "best", "memory.max cpu.max cpu.weight"), ["max", "max 100000", "1"])
    own = "kubectl exec {} -- sh -c 'cd /sys/fs/cgroup && cat memory.oom.group memory.swap.max'"
    for pod in ("guaranteed", "burstable", "best"):
        _same(guest.run(own.format(pod)).split(), ["1", "0"])
    reason = "{.status.containerStatuses[0].state.terminated.reason}"
    _until(lambda: _same(guest.run(f"kubectl get pod greedy -o jsonpath='{reason}'"), "OOMKilled"))
    _same(guest.run("systemctl is-active kumo kumo-0-pods").split(), ["active", "active"])


def confinement(guest: Guest) -> None:
    """AppArmor's and seccomp's profiles hold the containers."""
    said = guest.run("kubectl exec guaranteed -- sh -c 'cat /proc/1/attr/current; grep Seccomp: /proc/1/status'")
    _like(said, r"cri-containerd\.apparmor\.d \(enforce\)\s+Seccomp:\s+2")
    _like(guest.run("kubectl exec best -- cat /proc/1/attr/current"), "unconfined")


def resize(guest: Guest) -> None:
    """A resize in place reaches the pod's group and its container's, and nothing starts again."""
    resources = '{"cpu":"300m","memory":"48Mi"}'
    containers = f'[{{"name":"c","resources":{{"requests":{resources},"limits":{resources}}}}}]'
    guest.run(
        f"""kubectl patch pod guaranteed --subresource=resize --patch '{{"spec":{{"containers":{containers}}}}}'"""
    )
    _until(lambda: _same(_numbers(guest, "guaranteed", "memory.max cpu.max"), ["50331648", "30000 100000"]))
    _same(guest.run("kubectl exec guaranteed -- cat /sys/fs/cgroup/memory.max").strip(), "50331648")
    _same(guest.run("kubectl get pod guaranteed -o jsonpath='{.status.containerStatuses[0].restartCount}'"), "0")


def top(guest: Guest) -> None:
    """`kubectl top` knows what the node and a busy pod use."""
    _until(lambda: _like(guest.run("kubectl top pod guaranteed --no-headers", check=False), r"guaranteed\s+\d{2,}m"))
    _like(guest.run("kubectl top node --no-headers"), r"machine\s+\d+m\s+\d+%\s+\d+Mi")


def services(guest: Guest) -> None:
    """A service answers a pod of the same node (which needs br_netfilter), and again after a firewall's reload."""
    guest.run("kubectl expose pod burstable --port 80 --target-port 8080")
    ask = "kubectl exec best -- sh -c 'printf \"GET /hostname HTTP/1.0\\r\\n\\r\\n\" | nc -w 5 burstable 80'"
    _until(lambda: _like(guest.run(ask, check=False), "burstable"))
    guest.run("nft flush ruleset")
    _until(lambda: _like(guest.run(ask, check=False), "burstable"))


def nfs(guest: Guest) -> None:
    """A volume of type nfs is a server's export, and is unmounted with its pod."""
    guest.run("mkdir -p /srv/share && exportfs -o rw,no_root_squash,insecure 127.0.0.1:/srv/share")
    guest.run(f"systemctl start nfs-server && kubectl apply -f - <<'POD'\n{_NFS}\nPOD")
    guest.run(f"kubectl wait --for=condition=Ready pod/shared --timeout={_SECONDS:.0f}s")
    _until(lambda: _same(guest.run("cat /srv/share/said", check=False).strip(), "from a pod"))
    _like(guest.run("findmnt -nt nfs,nfs4 -o SOURCE,TARGET"), r"127\.0\.0\.1:/srv/share\s+/var/lib/kumo/")
    guest.run("kubectl delete pod shared")
    _until(lambda: _same(guest.run("findmnt -nt nfs,nfs4", check=False), ""))
    guest.run("systemctl stop nfs-server && exportfs -ua")


def machine(guest: Guest) -> None:
    """The launcher of a virtual machine starts QEMU, and AppArmor refuses nothing."""
    guest.run("sed 's/running: false/running: true/' /root/kumo/docs/tutorial/vm.yaml | kubectl apply -f -")
    phase = "kubectl get vmi testvm -o jsonpath='{.status.phase}'"
    _until(lambda: _same(guest.run(phase, check=False), "Running"))
    _like(guest.run("ps -C qemu-system-x86_64,qemu-system-x86 -o label="), r"\(enforce\)|unconfined")
    _same(guest.run("journalctl -k --no-pager | grep 'apparmor=\"DENIED\"' | grep -E 'libvirt|qemu'", check=False), "")
    guest.run("kubectl delete vm testvm")
    _until(lambda: _same(guest.run("pgrep -a qemu-system", check=False), ""))


def restart(guest: Guest) -> None:
    """A restart of the service leaves containers running."""
    before = guest.run(_IDS)
    guest.run("systemctl restart kumo", timeout=900)
    _until(lambda: _same(guest.run(_IDS), before))
    _same(guest.run("systemctl is-active kumo kumo-0-pods").split(), ["active", "active"])


def reboot(guest: Guest) -> None:
    """After a reboot, what should run runs again, by itself."""
    before = guest.run("cat /proc/sys/kernel/random/boot_id").strip()
    guest.run("systemctl reboot", check=False)
    guest.wait_for_boot(other_than=before)
    _until(lambda: _same(guest.run("systemctl is-active kumo", check=False).strip(), "active"))
    count = "{.status.containerStatuses[0].restartCount}"
    ask = f"kubectl get pods burstable best -o jsonpath='{{range .items[*]}}{count} {{end}}'"
    _until(lambda: _same(guest.run(ask, check=False).split(), ["1", "1"]))
    guest.run(f"kubectl wait --for=condition=Ready pod/burstable pod/best --timeout={_SECONDS:.0f}s")


def removal(guest: Guest) -> None:
    """Nothing is left once it is removed: no process, group, unit, interface or rule."""
    guest.run("kumo service uninstall && kumo reset --yes", timeout=900)
    left = "pgrep -a containerd; find /sys/fs/cgroup -maxdepth 2 -name 'kumo-0*'; nft list tables | grep kumo; ip -br l"
    _same([line for line in guest.run(left, check=False).splitlines() if not line.startswith(("lo ", "en"))], [])
    _same(guest.run("systemctl is-active kumo-0-pods", check=False).strip(), "inactive")


CHECKS: tuple[Callable[[Guest], None], ...] = (
    service, limits, confinement, resize, top, services, nfs, machine, restart, reboot, removal,
)  # fmt: skip
_IDS = "kubectl get pods burstable best -o jsonpath='{.items[*].status.containerStatuses[0].containerID}'"


def _numbers(guest: Guest, pod: str, files: str) -> list[str]:
    """What the files of the pod's control group hold."""
    script = f"cd {_GROUP}/pod$(kubectl get pod {pod} -o jsonpath='{{.metadata.uid}}') && cat {files}"
    return guest.run(script).splitlines()


def _same(found: object, wanted: object) -> None:
    if found != wanted:
        raise CheckFailed(f"{found!r} is not {wanted!r}")


def _like(found: str, pattern: str) -> None:
    if not re.search(pattern, found):
        raise CheckFailed(f"{found!r} does not match {pattern!r}")


def _until(look: Callable[[], None], seconds: float = _SECONDS) -> None:
    """Look again and again until it is so."""
    end = time.monotonic() + seconds
    while True:
        try:
            return look()
        except (CheckFailed, GuestError):
            if time.monotonic() > end:
                raise
        time.sleep(3)
