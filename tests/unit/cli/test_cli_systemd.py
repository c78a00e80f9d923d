import socket
from pathlib import Path

import pytest

from kumo.cli.service import unit_name, unit_text
from kumo.cli.systemd import jobs, notify, unit_of
from kumo.host import delegation

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0::/system.slice/kumo.service\n", "kumo.service"),
        ("12:cpu,cpuacct:/x.service\n1:name=systemd:/system.slice/kumo-two.service\n0::/\n", "kumo-two.service"),
        ("0::/user.slice/user-0.slice/session-1.scope\n", ""),
        ("", ""),
        ("nonsense\n", ""),
    ],
)
def test_the_service_that_a_process_runs_in(text: str, expected: str) -> None:
    assert unit_of(text.splitlines()) == expected


def test_jobs_of_systemd() -> None:
    listed = ["1234 kumo.service restart running", "  99 other.service stop waiting", "", "No jobs running."]
    found = jobs(listed)
    assert ("kumo.service", "restart") in found
    assert ("other.service", "stop") in found
    assert ("kumo.service", "stop") not in found


def test_systemd_is_told_in_its_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify("READY=1", "STATUS=Ready in 1.4 s.")
        assert listener.recv(4096) == b"READY=1\nSTATUS=Ready in 1.4 s."
    notify("READY=1")  # nobody listens any more: that is nobody's fault
    monkeypatch.delenv("NOTIFY_SOCKET")
    notify("READY=1")


def test_the_unit_leaves_pods_to_kumo() -> None:
    text = unit_text(Path("/srv/two"), "/opt/kumo/bin/kumo", "join")
    for line in (
        "Type=notify",
        "ExecStart=/opt/kumo/bin/kumo join --data-dir /srv/two",
        "KillMode=process",
        "KillSignal=SIGUSR2",
        "OOMPolicy=continue",
    ):
        assert f"\n{line}\n" in text
    assert unit_name(Path("/srv/two")) == "kumo-two.service"
    assert unit_name(Path("/var/lib/kumo")) == "kumo.service"


@pytest.mark.parametrize(
    ("systemd", "unified", "expected"),
    [
        (True, True, "/kumo.slice/kumo-7-pods.service/pods"),
        (True, False, "/kumo-7"),
        (False, True, "/kumo-7"),
        (False, False, "/kumo-7"),
    ],
)
def test_where_pods_live(
    systemd: bool, unified: bool, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delegation, "_BOOTED", tmp_path / "booted")
    monkeypatch.setattr(delegation, "_GROUPS", tmp_path)
    if systemd:
        (tmp_path / "booted").mkdir()
    if unified:
        (tmp_path / "cgroup.controllers").write_text("cpu memory\n")
    assert delegation.pods_group("7") == expected
