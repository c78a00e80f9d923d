"""The demo disk under a real QEMU, without KVM: boot to the login, seeds, ssh, the power button."""

from __future__ import annotations

import io
import os
import re
import select
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pycdlib
import pytest

from kumo.host.demo import build_demo_disk_cached, busybox_image, container_disk_layer
from kumo.host.demo.debian import NoPackages

pytestmark = [
    pytest.mark.component,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: owners of the disk's files"),
    pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="no QEMU here"),
]

CACHE = Path(__file__).parents[3] / ".cache" / "demo"


@pytest.fixture(scope="module")
def disk() -> Path:
    CACHE.mkdir(parents=True, exist_ok=True)
    try:
        return build_demo_disk_cached(CACHE)
    except NoPackages as error:
        pytest.skip(str(error))


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def seed(path: Path, label: str, files: dict[str, str]) -> Path:
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident=label)
    folders: set[str] = set()
    for number, (name, text) in enumerate(files.items()):
        *parents, last = name.split("/")
        place, short = "", ""
        for parent in parents:
            place, short = f"{place}/{parent}", f"{short}/{parent.upper()[:8]}"
            if place not in folders:
                folders.add(place)
                iso.add_directory(short, rr_name=parent, joliet_path=place)
        data = text.encode()
        iso.add_fp(io.BytesIO(data), len(data), f"{short}/F{number}.;1", rr_name=last, joliet_path=f"{place}/{last}")
    iso.write(str(path))
    iso.close()
    return path


class Guest:
    """A virtual machine with 61 MiB (64 MB), as the walk-through's has."""

    def __init__(self, disk: Path, directory: Path, *options: str, seed: Path | None = None) -> None:
        overlay = directory / f"{time.monotonic_ns()}.qcow2"
        create = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", disk, "-F", "qcow2", overlay, "300M"]
        subprocess.run(create, check=True)
        self.port = free_port()
        self.monitor = directory / "monitor"
        argv = ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-accel", "tcg,tb-size=64", "-m", "61"]
        argv += ["-serial", "stdio", "-drive", f"file={overlay},if=virtio,format=qcow2"]
        argv += ["-netdev", f"user,id=n,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-:22"]
        argv += ["-device", "virtio-net-pci,netdev=n", "-monitor", f"unix:{self.monitor},server,nowait", *options]
        if seed is not None:
            argv += ["-drive", f"file={seed},if=virtio,format=raw,readonly=on"]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.seen = ""

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()

    def wait_for(self, pattern: str, seconds: float = 90) -> str:
        """What was shown up to the pattern's end."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + seconds
        while not (match := re.search(pattern, self.seen)):
            ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            data = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            assert data, f"no {pattern!r} in:\n{self.seen[-3000:]}"
            self.seen += data.decode(errors="replace")
        found, self.seen = self.seen[: match.end()], self.seen[match.end() :]
        return found

    def type(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def login(self, password: str, name: str = "cirros") -> str:
        """Log in on the serial console; what was shown before the prompt."""
        shown = self.wait_for(r"login: ")
        self.type(f"{name}\n")
        self.wait_for(r"assword: ")
        self.type(f"{password}\n")
        self.wait_for(r"\$ ")
        return shown

    def run(self, command: str) -> str:
        """A command's output on the console."""
        self.type(f"{command}; echo EN''D\n")
        shown = self.wait_for(r"\nEND\r\n")
        # the terminal's echo of what was typed may stand before the prompt, behind it, or both
        lines = [line.strip("\r") for line in shown.splitlines()[:-1]]
        echoed = max(i for i, line in enumerate(lines) if "EN''D" in line)
        return "\n".join(lines[echoed + 1 :])

    def eventually(self, command: str, pattern: str, seconds: float = 60) -> str:
        deadline = time.monotonic() + seconds
        while not re.search(pattern, found := self.run(command)):
            assert time.monotonic() < deadline, f"{command}: {found}"
        return found


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def plain(disk: Path, directory: Path) -> Iterator[Guest]:
    guest = Guest(disk, directory)
    yield guest
    guest.close()


def test_it_boots_in_64_megabytes_grows_and_ends_by_the_power_button(plain: Guest) -> None:
    shown = plain.login("gocubsgo")
    assert "login as 'cirros' user. default password: 'gocubsgo'. use 'sudo' for root." in shown
    assert "Linux version" in shown
    assert "cirros login: " in shown
    assert "uid=0(root)" in plain.run("sudo id")
    assert plain.run("sudo -n sh -c 'echo $HOME'").endswith("/root")
    plain.eventually("ip addr show eth0", r"inet 10\.0\.2\.15/24")
    # the disk has 300 MiB: so has, but for the boot partition and what ext4 needs, the root
    plain.eventually("df -m / | tail -n 1", r"/dev/vda2 +(2[2-9]\d) ")
    assert int(plain.run("free -m | sed -n 's/^Mem: *[0-9]* *[0-9]* *[0-9]* *[0-9]* *[0-9]* *//p'").split()[-1]) > 20
    plain.eventually("pidof acpid", r"\d+")
    with socket.socket(socket.AF_UNIX) as monitor:
        monitor.connect(str(plain.monitor))
        monitor.sendall(b"system_powerdown\n")
        assert plain.process.wait(60) == 0


USER_DATA = """#cloud-config
hostname: vm1
password: s3cret
chpasswd: {{expire: false}}
ssh_authorized_keys:
  - {key}
users:
  - default
  - name: bob
    plain_text_passwd: bobs
    sudo: ALL=(ALL) NOPASSWD:ALL
write_files:
  - path: /etc/note
    content: |
      hello
    permissions: '0640'
runcmd:
  - echo ran as $(id -un) > /run/ran
  - [sh, -c, "echo words >> /run/ran"]
"""


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", path], check=True)
    return path


def test_nocloud_sets_password_key_host_name_files_users_and_runs_commands(
    disk: Path, directory: Path, key: Path
) -> None:
    text = USER_DATA.format(key=key.with_suffix(".pub").read_text().strip())
    iso = seed(
        directory / "seed.iso", "cidata", {"user-data": text, "meta-data": "instance-id: i-1\nlocal-hostname: other\n"}
    )
    guest = Guest(disk, directory, seed=iso)
    try:
        assert "vm1 login: " in guest.login("s3cret")
        assert guest.eventually("cat /run/ran", "words").splitlines() == ["ran as root", "words"]
        assert guest.run("sudo cat /etc/note") == "hello"
        assert guest.run("stat -c %a /etc/note") == "640"
        assert "27(sudo)" in guest.run("id bob")
        guest.eventually("pidof dropbear", r"\d+")
        guest.eventually("ip addr show eth0", r"inet 10\.0\.2\.15")
        options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes"]
        ssh = ["ssh", *options, "-q", "-i", str(key), "-p", str(guest.port), "cirros@127.0.0.1", "hostname; sudo id -u"]
        done = subprocess.run(ssh, capture_output=True, text=True, timeout=90, check=False, stdin=subprocess.DEVNULL)
        assert (done.returncode, done.stdout.split()) == (0, ["vm1", "0"]), done.stderr
    finally:
        guest.close()


def test_a_config_drive_and_a_script(disk: Path, directory: Path) -> None:
    files = {
        "openstack/latest/meta_data.json": '{"uuid": "i-2", "hostname": "vm2.novalocal"}',
        "openstack/latest/user_data": "#!/bin/sh\necho from the script > /run/ran\n",
    }
    guest = Guest(disk, directory, seed=seed(directory / "seed.iso", "config-2", files))
    try:
        assert "vm2 login: " in guest.login("gocubsgo")
        guest.eventually("cat /run/ran", "from the script")
    finally:
        guest.close()


def test_the_primers_user_data_does_no_harm(disk: Path, directory: Path) -> None:
    files = {"user-data": "Hi.\\n", "meta-data": '{"instance-id":"testvm.default","local-hostname":"testvm"}'}
    guest = Guest(disk, directory, seed=seed(directory / "seed.iso", "cidata", files))
    try:
        shown = guest.login("gocubsgo")
        assert "testvm login: " in shown
        assert "neither #cloud-config nor a script: ignored" in shown
    finally:
        guest.close()


def test_the_container_disk_holds_one_disk_for_qemus_user(disk: Path) -> None:
    folder, file = container_disk_layer(disk)
    assert (folder.path, file.path) == ("/disk", f"/disk/{disk.name}")
    assert (file.uid, file.gid, file.mode) == (107, 107, 0o440)
    assert disk.stat().st_size < 25 * 1024 * 1024


def test_busybox_runs_in_its_image(disk: Path, tmp_path: Path) -> None:
    image = busybox_image(CACHE)
    layer = tmp_path / "layer.tar.gz"
    layer.write_bytes(image.layers[0].data or b"")
    root = tmp_path / "root"
    root.mkdir()
    subprocess.run(["tar", "-xzf", layer, "-C", root], check=True)
    listener = socket.create_server(("127.0.0.1", 0))
    with listener:
        port = listener.getsockname()[1]
        wget = subprocess.Popen(["chroot", root, "wget", "-qO-", f"http://127.0.0.1:{port}/"], stdout=subprocess.PIPE)
        listener.settimeout(20)
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nhello")
        out, _ = wget.communicate(timeout=20)
    assert (wget.returncode, out) == (0, b"hello")
