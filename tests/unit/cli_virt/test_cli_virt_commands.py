"""The commands against a server that only notes what it is asked: requests, messages, exit codes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kumo.api.errors import StatusError, conflict, not_found
from kumo.api.users import UserInfo
from kumo.cli.virt import ssh
from kumo.cli.virt.main import command
from kumo.cli.virt.port_forward import ForwardedPort, Target, parse_port, parse_target
from kumo.cli.virt.session import Session, SessionError
from kumo.cli.virt.vnc import viewer
from kumo.machinery.http import Answer, Request, Response
from kumo.machinery.transport import InProcessTransport

pytestmark = pytest.mark.unit
S = "/apis/subresources.kubevirt.io/v1/namespaces/default"


class Server:
    """Answers with `refusal` if there is one, else with success; `asked` is what came."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, bytes]] = []
        self.refusals: dict[str, StatusError] = {}
        self.objects: dict[str, bytes] = {}

    async def __call__(self, request: Request) -> Answer:
        self.asked.append((request.method, request.path, await request.read(1 << 20)))
        if refusal := self.refusals.get(request.path):
            raise refusal
        return Response(200, self.objects.get(request.path, b""))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    found = Server()

    @asynccontextmanager
    async def transport(self: Session) -> AsyncIterator[InProcessTransport]:
        yield InProcessTransport(found, UserInfo("someone"))

    monkeypatch.setattr(Session, "transport", transport)
    monkeypatch.setattr(Session, "namespace", property(lambda self: self._namespace or "default"))
    return found


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments), prog_name="kumo virt")


@pytest.mark.parametrize(
    ("arguments", "path", "body", "says"),
    [
        ("start vm1", "virtualmachines/vm1/start", b"{}", "VM vm1 was scheduled to start\n"),
        ("start vm1 --paused", "virtualmachines/vm1/start", b'{"paused":true}', "VM vm1 was scheduled to start\n"),
        ("start vm1 --paused=false", "virtualmachines/vm1/start", b"{}", "VM vm1 was scheduled to start\n"),
        ("start --dry-run=true vm1", "virtualmachines/vm1/start", b'{"dryRun":["All"]}',
         "Dry Run execution\nVM vm1 was scheduled to start\n"),
        ("stop vm1", "virtualmachines/vm1/stop", b"{}", "VM vm1 was scheduled to stop\n"),
        ("stop vm1 --force --grace-period=0", "virtualmachines/vm1/stop", b'{"gracePeriod":0}',
         "VM vm1 was scheduled to stop\n"),
        ("restart vm1 --force=true --grace-period 0", "virtualmachines/vm1/restart", b'{"gracePeriodSeconds":0}',
         "VM vm1 was scheduled to restart\n"),
        ("pause vmi vm1", "virtualmachineinstances/vm1/pause", b"{}", "VMI vm1 was scheduled to pause\n"),
        ("unpause VMIs vm1", "virtualmachineinstances/vm1/unpause", b"{}", "VMI vm1 was scheduled to unpause\n"),
        ("reset vm1", "virtualmachineinstances/vm1/reset", b"", "VMI vm1 was scheduled to reset\n"),
        ("soft-reboot vm1", "virtualmachineinstances/vm1/softreboot", b"", "VMI vm1 was scheduled to soft-reboot\n"),
    ],
)  # fmt: skip
def test_what_is_asked_and_said(server: Server, arguments: str, path: str, body: bytes, says: str) -> None:
    result = run(*arguments.split())
    assert (result.exit_code, result.stdout, result.stderr) == (0, says, "")
    assert server.asked == [("PUT", f"{S}/{path}", body)]


def test_pausing_a_vm_asks_for_it_first(server: Server) -> None:
    machine = "/apis/kubevirt.io/v1/namespaces/default/virtualmachines/vm1"
    server.objects[machine] = b'{"metadata":{"name":"vm1"},"spec":{"runStrategy":"Halted"}}'
    assert run("pause", "vm", "vm1").exit_code == 0
    assert [path for _, path, _ in server.asked] == [machine, f"{S}/virtualmachineinstances/vm1/pause"]
    server.refusals[f"{S}/virtualmachineinstances/vm1/pause"] = not_found("kubevirt.io", "x", "vm1")
    result = run("pause", "vm", "vm1")
    assert result.exit_code == 1
    words = "Error pausing VirtualMachineInstance vm1. VirtualMachine vm1 is not set to run\n"
    assert result.stderr == words
    server.objects[machine] = b'{"metadata":{"name":"vm1"},"spec":{"runStrategy":"Always"}}'
    assert run("pause", "vm", "vm1").stderr == "Error pausing VirtualMachineInstance vm1, it was not found\n"


@pytest.mark.parametrize(
    ("arguments", "before"),
    [
        ("start vm1", "Error starting VirtualMachine "),
        ("stop vm1", "error stopping VirtualMachine "),
        ("stop vm1 --force --grace-period=0", "error force stopping VirtualMachine: "),
        ("restart vm1", "error restarting VirtualMachine: "),
        ("restart vm1 --force --grace-period=0", "error force restarting VirtualMachine: "),
        ("pause vmi vm1", "Error pausing VirtualMachineInstance vm1: "),
        ("unpause vmi vm1", "Error unpausing VirtualMachineInstance vm1: "),
        ("soft-reboot vm1", "Error soft rebooting VirtualMachineInstance vm1: "),
        ("reset vm1", "Error reseting VirtualMachineInstance vm1: "),
        ("console vm1", ""),
        ("vnc vm1 --proxy-only", "can't access VMI vm1: "),
        ("port-forward vmi/vm1 22 --stdio", ""),
    ],
)
def test_refusals(server: Server, arguments: str, before: str) -> None:
    refusal = conflict("kubevirt.io", "virtualmachine", "vm1", "VM is not running")
    for resource in ("virtualmachines", "virtualmachineinstances"):
        for verb in ("start", "stop", "restart", "pause", "unpause", "softreboot", "reset", "console", "vnc",
                     "portforward/22/tcp"):  # fmt: skip
            server.refusals[f"{S}/{resource}/vm1/{verb}"] = refusal
    result = run(*arguments.split())
    words = 'Operation cannot be fulfilled on virtualmachine.kubevirt.io "vm1": VM is not running\n'
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", before + words)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("start", "accepts 1 arg(s), received 0"),
        ("start a b", "accepts 1 arg(s), received 2"),
        ("pause vm1", "accepts 2 arg(s), received 1"),
        ("pause foo vm1", "unsupported resource type 'foo'"),
        ("vnc", "accepts 1 arg(s), received 0"),
        ("vnc screenshot", "accepts 1 arg(s), received 0"),
        ("vnc screenshot vm1", 'required flag(s) "file" not set'),
        ("ssh", "accepts 1 arg(s), received 0"),
        ("nothing", 'unknown command "nothing" for "kumo virt"'),
        ("start --foo vm1", "unknown flag: --foo"),
        ("start -x vm1", "unknown shorthand flag: 'x' in -x"),
        ("start vm1 --namespace", "flag needs an argument: --namespace"),
        ("start vm1 --paused=maybe",
         'invalid argument "maybe" for "--paused" flag: strconv.ParseBool: parsing "maybe": invalid syntax'),
        ("stop vm1 --grace-period=x --force",
         'invalid argument "x" for "--grace-period" flag: strconv.ParseInt: parsing "x": invalid syntax'),
        ("stop vm1 --force", "Must both use --force=true and set --grace-period."),
        ("stop vm1 --grace-period=1", "Must both use --force=true and set --grace-period."),
        ("port-forward vm/vm1 22 23 --stdio", "only one port supported when forwarding to stdout"),
        ("port-forward vm/vm1 sctp/22", "unknown protocol: sctp"),
        ("start vm1 --kubeconfig /nope", "stat /nope: no such file or directory"),
    ],
)  # fmt: skip
def test_wrong_use_is_refused_as_virtctl_does(arguments: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if "--kubeconfig" not in arguments:
        monkeypatch.setattr(Session, "namespace", "default")
    result = run(*arguments.split())
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", says + "\n")


def test_port_forward_without_ports_shows_how() -> None:
    result = run("port-forward", "vm/vm1")
    assert result.exit_code == 1
    assert "portforward requires at least 2 arg(s), received 1" in result.stderr
    assert result.stderr.endswith("argument validation failed\n")


def test_the_namespace_before_and_after_the_command(server: Server) -> None:
    for arguments in (["-n", "other", "start", "vm1"], ["start", "vm1", "--namespace=other"]):
        assert run(*arguments).exit_code == 0
    assert {path for _, path, _ in server.asked} == {f"{S.replace('default', 'other')}/virtualmachines/vm1/start"}


def test_a_screenshot(server: Server, tmp_path: Path) -> None:
    path = f"{S}/virtualmachineinstances/vm1/vnc/screenshot"
    server.objects[path] = b"\x89PNG"
    assert run("vnc", "screenshot", "vm1", "-f", str(tmp_path / "s.png")).exit_code == 0
    assert (tmp_path / "s.png").read_bytes() == b"\x89PNG"
    assert run("vnc", "screenshot", "vm1", "-f", "-").stdout_bytes == b"\x89PNG"
    missing = str(tmp_path / "no" / "s.png")
    words = f"Can't write image to a file: open {missing}: no such file or directory\n"
    assert run("vnc", "screenshot", "vm1", "-f", missing).stderr == words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("vm/a", Target("virtualmachines", "a", "here")),
        ("VMIS/a", Target("virtualmachineinstances", "a", "here")),
        ("vmi/a.b/there", Target("virtualmachineinstances", "a.b", "there")),
        ("", "target cannot be empty"),
        ("a", "target must contain type and name separated by '/'"),
        ("vm/a/", "namespace cannot be empty"),
        ("vm/a/b/c", "target is not valid with more than two '/'"),
        ("foo/a", "unsupported resource type 'foo'"),
        ("/", "unsupported resource type ''"),
        ("vm/", "name cannot be empty"),
    ],
)
def test_targets(text: str, expected: Target | str) -> None:
    if isinstance(expected, Target):
        assert parse_target(text, "here") == expected
    else:
        with pytest.raises(SessionError, match=expected):
            parse_target(text, "here")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", ForwardedPort(80, 80, "tcp")),
        ("8080:80", ForwardedPort(8080, 80, "tcp")),
        ("udp/53:5353", ForwardedPort(53, 5353, "udp")),
        (":80", ForwardedPort(80, 80, "tcp")),
        (":", "invalid port, missing local and/or remote port"),
        ("x", 'strconv.Atoi: parsing "x": invalid syntax'),
        ("80:1_0", 'strconv.Atoi: parsing "1_0": invalid syntax'),
    ],
)
def test_ports(text: str, expected: ForwardedPort | str) -> None:
    if isinstance(expected, ForwardedPort):
        assert parse_port(text) == expected
    else:
        with pytest.raises(SessionError) as refusal:
            parse_port(text)
        assert str(refusal.value) == expected


def test_ssh_targets_and_users() -> None:
    assert ssh.parse_target("me@vm/a", "n") == ("me", Target("virtualmachines", "a", "n"))
    assert ssh.parse_target("vmi/a/b", "n") == ("", Target("virtualmachineinstances", "a", "b"))
    with pytest.raises(SessionError, match="expected username before '@'"):
        ssh.parse_target("@vm/a", "n")
    with pytest.raises(SessionError, match="expected target after '@'"):
        ssh.parse_target("me@", "n")
    assert ssh.default_user({"LOGNAME": "c", "USERNAME": "b", "USER": ""}) == "b"
    assert ssh.default_user({}) == ""


def test_ssh_runs_the_local_client(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "ssh"
    fake.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/arguments\nexit 7\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    result = run("ssh", "me@vm/a", "-i", "key", "-p", "2222", "-t", "-v", "-c", "ls /", "--kubeconfig", "/kube config")
    assert (result.exit_code, result.stderr) == (1, "exit status 7\n")
    dashed, proxy, *rest = (tmp_path / "arguments").read_text().splitlines()
    assert dashed == "-o"
    assert proxy.startswith("ProxyCommand=")
    assert proxy.endswith(" virt --kubeconfig '/kube config' port-forward --stdio=true vm/a/default 2222")
    assert rest == ["-v", "-i", "key", "me@vm.a.default", "ls /"]


def test_viewers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for kind, path, says in (
        ("", "", "could not find remote-viewer or vncviewer binary in $PATH"),
        ("", "/nope", "could not find remote-viewer or vncviewer binary in $PATH"),
        ("tiger", "/nope", "specified VNC path does not exist: /nope"),
        ("odd", "", "unsupported vnc-type: odd"),
        ("tiger", "", 'could not find vncviewer in $PATH: exec: "vncviewer": executable file not found in $PATH'),
    ):
        with pytest.raises(SessionError) as refusal:
            viewer(kind, path)
        assert str(refusal.value) == f"error encountered: {says}"
    program = tmp_path / "vncviewer"
    program.write_text("")
    program.chmod(0o755)
    assert viewer("", "") == (str(program), "127.0.0.1:{port}")
