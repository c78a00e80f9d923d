"""The primer's walk-through, step by step, with kubectl and `kumo virt`: every command shown with its true output.

Run by `make demo`. Ends with 1 at the first step whose output differs from what the primer shows.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

from demo.terminal import NotSeen, Terminal

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = ROOT / "docs" / "tutorial" / "vm.yaml"
DISK_IMAGE = "quay.io/kubevirt/cirros-container-disk-demo"
VM = "testvm"
BOOT_SECONDS = 120.0


class StepFailed(Exception):
    """A step did not show what it should."""


class Walkthrough:
    """Runs the steps against the instance of `data_dir`."""

    def __init__(self, data_dir: str, port: int) -> None:
        self.kumo = [str(ROOT / ".venv" / "bin" / "kumo")]
        self.where = ["--data-dir", data_dir]
        self.port = port
        kubectl = ROOT / ".clients" / "bin" / "kubectl"
        self.kubectl = str(kubectl) if kubectl.exists() else "kubectl"
        self.env = os.environ | {"KUBECONFIG": f"{data_dir}/admin.kubeconfig"}

    def run(self, argv: list[str], shown: str = "", *, check: bool = True) -> str:
        """Run a command, showing it and its output; the output."""
        say(f"$ {shown or shlex.join(argv)}")
        done = subprocess.run(
            argv, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        print(done.stdout, end="", flush=True)
        if check and done.returncode:
            raise StepFailed(f"{shown or shlex.join(argv)} ended with {done.returncode}")
        return done.stdout

    def kubectl_run(self, *arguments: str) -> str:
        """One kubectl command."""
        return self.run([self.kubectl, *arguments], f"kubectl {shlex.join(arguments)}")

    def virt(self, *arguments: str) -> str:
        """One command of `kumo virt`."""
        return self.run([*self.kumo, "virt", *arguments], f"kumo virt {shlex.join(arguments)}")

    def expect(self, pattern: str, *arguments: str, seconds: float = 60.0) -> str:
        """Wait until a kubectl command's output matches, then show it."""
        deadline = time.monotonic() + seconds
        while True:
            argv = [self.kubectl, *arguments]
            text = subprocess.run(argv, env=self.env, capture_output=True, text=True, check=False)
            if re.search(pattern, text.stdout, re.MULTILINE):
                return self.kubectl_run(*arguments)
            if time.monotonic() > deadline:
                raise StepFailed(
                    f"kubectl {shlex.join(arguments)} did not show {pattern!r} in {seconds:.0f} s, but:\n"
                    f"{text.stdout}{text.stderr}"
                )
            time.sleep(0.1)

    # -- the steps --------------------------------------------------------------------------------------------------

    def start_cloud(self) -> None:
        """Start the instance unless it runs."""
        status = subprocess.run([*self.kumo, "status", *self.where], capture_output=True, text=True, check=False)
        if status.returncode == 0:
            print(status.stdout, end="")
            return
        self.run([*self.kumo, "up", "--detach", *self.where, "--port", str(self.port)], "kumo up --detach")

    def prepare_images(self) -> None:
        """Pull the primer's disk, or build one from Debian packages and import it under its name."""
        self.run(
            [*self.kumo, "image", "demo", *self.where, "--cache", str(ROOT / ".cache" / "demo")], "kumo image demo"
        )

    def create(self) -> None:
        """Step 1."""
        self.kubectl_run("delete", "vm", VM, "--ignore-not-found", "--wait=true")
        if f"virtualmachine.kubevirt.io/{VM} created" not in self.kubectl_run("create", "-f", str(MANIFEST)):
            raise StepFailed("the VM was not created")

    def start(self) -> None:
        """Step 2."""
        if self.virt("start", VM).strip() != f"VM {VM} was scheduled to start":
            raise StepFailed("virt start printed something else")

    def pods(self) -> None:
        """Step 3."""
        self.expect(rf"^virt-launcher-{VM}-\w{{5}}\s+2/2\s+Running", "get", "pods")

    def instance(self) -> None:
        """Step 4."""
        self.expect(rf"^{VM}\s+\S+\s+Running\s+\d+\.\d+\.\d+\.\d+\s+\S+\s+True", "get", "vmi")

    def console(self) -> None:
        """Step 5: the guest's boot messages, a login, and a command run in the guest."""
        say(f"$ kumo virt console {VM}")
        with Terminal([*self.kumo, "virt", "console", VM], env=self.env, echo=True) as terminal:
            terminal.wait_for(rf"Successfully connected to {VM} console\. The escape sequence is \^\]", 60)
            terminal.type("\n")
            terminal.wait_for(r"login: ", BOOT_SECONDS)
            terminal.type("cirros\n")
            terminal.wait_for(r"[Pp]assword: ", 30)
            terminal.type("gocubsgo\n")
            terminal.wait_for(r"[$#] ", 30)
            terminal.type("echo I am $(hostname), with $(nproc) processor on $(uname -sr)\n")
            terminal.wait_for(r"\r\nI am \S+, with \d+ processor on Linux \S+", 30)
            terminal.wait_for(r"[$#] ", 30)
            terminal.type("exit\n")
            terminal.wait_for(r"login: ", 30)
            terminal.type("\x1d")
            if terminal.wait(20) != 0:
                raise StepFailed("the console did not end cleanly at its escape sequence")
        print()

    def life_cycle(self) -> None:
        """Step 6."""
        self.virt("pause", "vm", VM)
        self.expect(rf"^{VM}\s+\S+\s+Paused\s+False", "get", "vm")
        self.virt("unpause", "vm", VM)
        self.expect(rf"^{VM}\s+\S+\s+Running\s+True", "get", "vm")
        self.virt("stop", VM)
        self.expect(rf"^{VM}\s+\S+\s+Stopped\s+False", "get", "vm", seconds=90)
        self.kubectl_run("delete", "vm", VM)


def say(text: str) -> None:
    """A line of the walk-through itself."""
    print(f"\x1b[1m{text}\x1b[0m" if sys.stdout.isatty() else text, flush=True)


def main() -> int:
    """Run all the steps; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", default="/var/lib/kumo")
    parser.add_argument("--port", type=int, default=6443)
    chosen = parser.parse_args()
    walk = Walkthrough(chosen.data_dir, chosen.port)
    steps = [
        ("The cloud", walk.start_cloud),
        ("The images", walk.prepare_images),
        ("1. Create a virtual machine", walk.create),
        ("2. Start it", walk.start),
        ("3. Its pod", walk.pods),
        ("4. Its instance", walk.instance),
        ("5. Its console", walk.console),
        ("6. Its life cycle", walk.life_cycle),
    ]
    began = time.monotonic()
    for title, step in steps:
        say(f"\n== {title}")
        try:
            step()
        except (StepFailed, NotSeen) as error:
            print(f"\nThe walk-through differs at '{title}': {error}", file=sys.stderr)
            return 1
    say(f"\nAll six steps went as the primer shows, in {time.monotonic() - began:.1f} s. The cloud runs on. Next:")
    print(f"  export KUBECONFIG={chosen.data_dir}/admin.kubeconfig")
    print(f"  kubectl create -f {MANIFEST.relative_to(ROOT)} && kumo virt start {VM} && kumo virt console {VM}")
    print("  kubectl run hello --image=busybox --restart=Never -- echo hello && kubectl logs hello")
    print(f"  kumo status --data-dir {chosen.data_dir}")
    print(f"  kumo down --data-dir {chosen.data_dir}     (kumo reset removes everything)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
