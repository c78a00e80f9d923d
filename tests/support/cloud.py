"""A whole cloud of its own for end-to-end tests: `kumo up` in a directory of its own, removed by `kumo reset`."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
KUMO = str(ROOT / ".venv" / "bin" / "kumo")
DISK_IMAGE = "quay.io/kubevirt/cirros-container-disk-demo"


class CommandFailed(AssertionError):
    """A command ended with another code than it should have; the message has its output."""


def program(name: str) -> str:
    """A client's path: the project's own, if it has one."""
    own = ROOT / ".clients" / "bin" / name
    return str(own) if own.exists() else name


class Cloud:
    """An instance and the clients that talk to it."""

    def __init__(self, data_dir: Path, port: int) -> None:
        self.data_dir = data_dir
        self.port = port
        self.where = ["--data-dir", str(data_dir)]
        self.prefix: list[str] = []
        """What every command begins with, e.g. to run it in another network namespace."""
        self.env = os.environ | {
            "KUBECONFIG": str(data_dir / "admin.kubeconfig"),
            "OS_CLIENT_CONFIG_FILE": str(data_dir / "clouds.yaml"),
            "OS_CLOUD": "kumo",
            "NO_COLOR": "1",
            "COLUMNS": "300",
        }

    # -- commands ---------------------------------------------------------------------------------------------------

    def run(
        self, argv: list[str], *, check: bool = True, stdin: str = "", timeout: float = 180
    ) -> subprocess.CompletedProcess[str]:
        """Run a client; raises CommandFailed unless it ends with 0 or `check` is off."""
        done = subprocess.run(
            [*self.prefix, *argv],
            env=self.env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode:
            raise CommandFailed(f"{' '.join(argv)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def kumo(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A kumo subcommand on this instance: `cloud.kumo("status", "-o", "json")`."""
        return self.run([KUMO, *arguments, *self.where], check=check)

    def virt(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A command of `kumo virt`."""
        return self.run([KUMO, "virt", *arguments], check=check)

    def kubectl(self, *arguments: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        """The real kubectl."""
        return self.run([program("kubectl"), *arguments], stdin=stdin, check=check)

    def openstack(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """The real openstack client."""
        client = str(ROOT / ".clients" / "openstack" / "bin" / "openstack")
        return self.run([client, *arguments], check=check)

    def get(self, *arguments: str) -> Any:
        """`kubectl get ... -o json`, decoded."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json").stdout)

    def apply(self, manifest: str | dict[str, Any]) -> str:
        """`kubectl apply -f -`."""
        text = manifest if isinstance(manifest, str) else json.dumps(manifest)
        return self.kubectl("apply", "-f", "-", stdin=text).stdout

    # -- life -------------------------------------------------------------------------------------------------------

    def up(self, *options: str) -> str:
        """`kumo up --detach`."""
        return self.kumo("up", "--detach", "--port", str(self.port), *options).stdout

    def reset(self) -> None:
        """`kumo reset --yes`."""
        self.kumo("reset", "--yes")

    def pid(self, name: str) -> int:
        """The pid of one of the instance's processes: supervisor, control-plane, node, containerd."""
        report = json.loads(self.kumo("status", "-o", "json", check=False).stdout)
        return next(p["pid"] for p in report["processes"] if p["name"] == name)

    def wait(self, condition: Callable[[], Any], timeout: float, what: str) -> Any:
        """Wait until the condition gives something true; that. Failures of commands count as not yet."""
        deadline = time.monotonic() + timeout
        last: Any = None
        while time.monotonic() < deadline:
            try:
                last = condition()
                if last:
                    return last
            except (CommandFailed, KeyError, IndexError, StopIteration, json.JSONDecodeError) as error:
                last = error
            time.sleep(0.1)
        raise AssertionError(f"{what} did not happen within {timeout} s; last seen: {last!r}")

    def demo_images(self) -> None:
        """Import the demo disk and the busybox image, which no registry gives here."""
        self.kumo("image", "demo", "--cache", str(ROOT / ".cache" / "demo"))


def fresh(data_dir: Path, port: int) -> Cloud:
    """A cloud in the directory, after removing what a killed run may have left there."""
    cloud = Cloud(data_dir, port)
    if (data_dir / "instance.json").exists():
        cloud.reset()
    return cloud


def vm_manifest(name: str, *, running: bool = True, namespace: str = "default", **spec: Any) -> dict[str, Any]:
    """The primer's VM under another name; keywords replace fields of the VM's spec."""
    import yaml

    found: dict[str, Any] = yaml.safe_load((ROOT / "docs" / "tutorial" / "vm.yaml").read_text())
    found["metadata"] |= {"name": name, "namespace": namespace}
    found["spec"] |= {"running": running}
    found["spec"]["template"]["metadata"]["labels"]["kubevirt.io/domain"] = name
    found["spec"] |= spec
    return found
