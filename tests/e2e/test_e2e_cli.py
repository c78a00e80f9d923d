"""The command: what it says and how it ends, with a cloud, without one, and when it can't start one."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cloud import KUMO, Cloud, fresh

pytestmark = pytest.mark.e2e
DATA_DIR = Path("/var/tmp/kumo-e2e-cli")
PORT = 16453
NOBODY = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]


@pytest.fixture
def own() -> Iterator[Cloud]:
    """An instance that does not run yet; removed in the end."""
    found = fresh(DATA_DIR, PORT)
    yield found
    found.reset()
    assert not DATA_DIR.exists()


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The message of a command that refused: exit code 1, on standard error alone, without a trace."""
    assert done.returncode == 1, done
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stderr.startswith("kumo: ")
    return done.stderr


def try_up(cloud: Cloud, *options: str) -> str:
    """The message of an `up` that must fail, after which nothing may run."""
    done = cloud.kumo("up", "--detach", "--port", str(PORT), *options, check=False)
    message = refused(done)
    assert cloud.kumo("status", check=False).returncode == 3
    return message


def listening(port: int) -> socket.socket:
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.bind(("127.0.0.1", port))
    found.listen()
    return found


# -- up refuses ------------------------------------------------------------------------------------------------------


def test_up_refuses_before_it_makes_anything(own: Cloud, tmp_path: Path) -> None:
    up = [KUMO, "up", "--detach", "--data-dir", str(DATA_DIR), "--port", str(PORT)]
    assert "sudo kumo" in refused(own.run([*NOBODY, *up], check=False))
    for port, name in ((PORT, "API server"), (PORT + 1, "node")):
        with listening(port):
            assert f"{name}: port {port}: Address already in use. To fix it: " in try_up(own)
    assert "HOST=URL" in try_up(own, "--mirror", "docker.io")
    assert "loopback" in try_up(own, "--mirror", "docker.io=http://198.51.100.1")
    hidden = ["unshare", "-m", "sh", "-c", 'mount --bind /dev/null /usr/bin/containerd && exec "$@"', "sh"]
    assert "containerd: not installed. To fix it: apt-get install containerd" in refused(
        own.run([*hidden, *up], check=False)
    )
    broken = ["unshare", "-m", "sh", "-c", 'mount --bind /bin/false /usr/bin/containerd && exec "$@"', "sh"]
    assert "/usr/bin/containerd does not run" in refused(own.run([*broken, *up], check=False))
    assert not DATA_DIR.exists()
    long = tmp_path / ("a" * 100)
    done = own.run([KUMO, "up", "--detach", "--data-dir", str(long)], check=False)
    assert "too long" in refused(done)
    file = tmp_path / "f"
    file.touch()
    done = own.run([KUMO, "up", "--detach", "--data-dir", f"{file}/x"], check=False)
    assert f"{file} is a file" in refused(done)
    done = own.run([KUMO, "up", "--detach", "--data-dir", str(file)], check=False)
    assert (done.returncode, "is a file" in done.stderr) == (2, True)


def test_the_database_is_corrupted_then_right_again(own: Cloud) -> None:
    own.up()
    own.kubectl("create", "configmap", "kept", "--from-literal=a=b")
    pid = own.pid("supervisor")
    message = refused(own.kumo("up", "--detach", check=False))
    assert f"kumo already runs on {DATA_DIR} (pid {pid})" in message
    own.kumo("down")
    store = DATA_DIR / "store" / "kumo.db"
    good = store.read_bytes()
    spoiled = bytearray(good)
    for page in range(2, len(good) // 4096):
        spoiled[page * 4096 : page * 4096 + 2000] = random.Random(page).randbytes(2000)
    for bad in (b"x" * 4096 + good[4096:], bytes(spoiled)):
        store.write_bytes(bad)
        message = try_up(own)
        assert f"the database {store} is corrupted" in message
        assert "restore it from a backup" in message
    store.write_bytes(good)
    own.up()
    assert own.get("configmap", "kept")["data"] == {"a": "b"}


def test_settings_that_are_lost_or_of_another_directory(own: Cloud, tmp_path: Path) -> None:
    own.up("--no-node")
    own.kumo("down")
    copy = tmp_path / "copy"
    shutil.copytree(DATA_DIR, copy)
    for command in (["up", "--detach"], ["reset", "--yes"], ["status"]):
        done = own.run([KUMO, *command, "--data-dir", str(copy)], check=False)
        assert "was copied or moved from" in refused(done)
    (DATA_DIR / "instance.json").write_text("{")
    for command in ("status", "down", "kubeconfig", "up"):
        assert "kumo reset" in refused(own.kumo(command, check=False))
    doctor = own.kumo("doctor", check=False)
    assert (doctor.returncode, "✗ instance" in doctor.stdout) == (1, True)
    # The fixture resets what has lost its settings.


def fill_up(directory: Path) -> None:
    """Take the last byte of the file system."""
    for size in (1 << 28, 1 << 24, 1 << 20, 1 << 16, 1 << 12):
        for number in range(256):
            with (directory / f"fill{size}-{number}").open("wb") as file:
                try:
                    os.posix_fallocate(file.fileno(), 0, size)
                except OSError:
                    break


def test_a_full_disk_refuses_writes_and_keeps_reads(own: Cloud, tmp_path: Path) -> None:
    image = tmp_path / "disk"
    subprocess.run(["truncate", "-s", "2560M", str(image)], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True)
    DATA_DIR.mkdir()
    subprocess.run(["mount", "-o", "loop", str(image), str(DATA_DIR)], check=True)
    fill = DATA_DIR / "fill"
    try:
        subprocess.run(["fallocate", "-l", "2300M", str(fill)], check=True)
        assert "disk: " in try_up(own)
        assert {p.name for p in DATA_DIR.iterdir()} == {"fill", "lost+found"}
        fill.unlink()
        own.up()
        own.kubectl("create", "configmap", "before", "--from-literal=a=b")
        fill_up(DATA_DIR)
        big = "--from-literal=a=" + "x" * 60000
        for name in ("one", "two"):
            done = own.kubectl("create", "configmap", name, big, check=False)
            assert (done.returncode, "no space left for the database" in done.stderr) == (1, True)
        assert own.get("configmap", "before")["data"] == {"a": "b"}
        for name in ("control-plane", "node"):
            os.kill(own.pid(name), signal.SIGKILL)
        own.wait(lambda: own.get("configmap", "before") and own.pid("node"), 30, "reads again after kill -9")
        for file in DATA_DIR.glob("fill*"):
            file.unlink()
        own.wait(lambda: own.kubectl("create", "configmap", "after"), 10, "writes again")
        own.kumo("down")
        own.up()
        assert {c["metadata"]["name"] for c in own.get("configmaps")["items"]} >= {"before", "after"}
        own.reset()
        assert DATA_DIR.is_mount()
        assert not list(DATA_DIR.iterdir())
    finally:
        own.kumo("reset", "--yes", check=False)
        subprocess.run(["umount", "-l", str(DATA_DIR)], check=True)
        DATA_DIR.rmdir()


# -- the other commands ------------------------------------------------------------------------------------------------


def test_commands_where_nothing_runs(own: Cloud) -> None:
    def said(*arguments: str, code: int = 0) -> str:
        done = own.kumo(*arguments, check=False)
        assert done.returncode == code, done
        return done.stdout + done.stderr

    assert said("status", code=3) == f"kumo does not run on {DATA_DIR}. Start it with 'kumo up --detach'\n"
    assert json.loads(said("status", "-o", "json", code=3)) == {"running": False, "dataDir": str(DATA_DIR)}
    assert said("down") == f"kumo does not run on {DATA_DIR}\n"
    assert said("reset", "--yes") == f"there is no instance in {DATA_DIR}: nothing to remove\n"
    assert "there is no kubeconfig" in said("kubeconfig", code=1)
    assert "kumo does not run on" in said("image", "list", code=1)
    assert not DATA_DIR.exists()


def test_commands_of_a_running_cloud(cloud: Cloud) -> None:
    status = json.loads(cloud.kumo("status", "-o", "json").stdout)
    assert status["processes"][0]["name"] == "supervisor"
    assert {p["name"] for p in status["processes"]} == {"supervisor", "control-plane", "node", "containerd"}
    assert all(status["nodes"].values())
    assert f"kumo runs on {cloud.data_dir}, https://127.0.0.1:{cloud.port}" in cloud.kumo("status").stdout
    facts = json.loads(cloud.kumo("doctor", "-o", "json").stdout)
    assert {f["level"] for f in facts} <= {"ok", "note"}
    assert "Address already in use" not in cloud.kumo("doctor").stdout
    text = cloud.kumo("kubeconfig").stdout
    assert text == (cloud.data_dir / "admin.kubeconfig").read_text()
    assert cloud.kumo("kubeconfig", "--path").stdout.strip() == str(cloud.data_dir / "admin.kubeconfig")
    names = [n for i in json.loads(cloud.kumo("image", "list", "-o", "json").stdout) for n in i["names"]]
    assert "docker.io/library/busybox:latest" in names
    pull = cloud.kumo("image", "pull", "127.0.0.1:1/nothing:1", check=False)
    assert "127.0.0.1:1" in refused(pull)
    for command in ("status", "down", "kubeconfig"):
        done = cloud.run([*NOBODY, KUMO, command, *cloud.where], check=False)
        assert "only root may read" in refused(done)


def test_commands_that_need_no_cloud() -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([KUMO, *arguments], capture_output=True, text=True, check=False)

    version = json.loads(run("version", "-o", "json").stdout)
    assert run("version").stdout == (
        f"kumo {version['kumo']} (Kubernetes {version['kubernetes']}, KubeVirt {version['kubevirt']})\n"
    )
    unit = run("service", "install", "--print", "--data-dir", "/srv/cloud").stdout
    assert f"ExecStart={KUMO} up --data-dir /srv/cloud\n" in unit
    if not Path("/run/systemd/system").is_dir():
        assert "not started by systemd" in refused(run("service", "install", "--data-dir", str(DATA_DIR)))
    assert run("nonsense").returncode == 2
    assert "up " in run("--help").stdout
