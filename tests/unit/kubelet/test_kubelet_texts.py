"""Environment, names, image references, logs, resources: the kubelet's small pure parts."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.kubernetes.kubelet import resources
from kumo.kubernetes.kubelet.backoff import Backoff
from kumo.kubernetes.kubelet.dns import Dns, hosts_file, parse_resolv_conf, pod_dns
from kumo.kubernetes.kubelet.env import ConfigError, Sources, environment, expand, format_map, pod_field
from kumo.kubernetes.kubelet.images import default_tag, duration
from kumo.kubernetes.kubelet.logs import Line, LogOptions, line_time, parse_line, render
from kumo.kubernetes.kubelet.pulls.credentials import matches

pytestmark = pytest.mark.unit

POD: dict[str, Any] = {"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": {"containers": []}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "1"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$(B) $(", "$(B) $("),
        ("$A $", "$A $"),
        ("", ""),
    ],
)
def test_expansion(text: str, expected: str) -> None:
    assert expand(text, {"A": "1"}) == expected


def test_a_missing_key_is_named() -> None:
    container = {
        "name": "c",
        "env": [{"name": "K", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
    }
    with pytest.raises(ConfigError, match=r'^secret "s" not found$'):
        environment(POD, container, Sources(secrets={"s": None}))
    with pytest.raises(ConfigError, match=r"^couldn't find key k in Secret ns/s$"):
        environment(POD, container, Sources(secrets={"s": {"data": {}}}))


def test_service_variables_and_links() -> None:
    service = {
        "metadata": {"name": "redis-primary", "namespace": "ns"},
        "spec": {"clusterIP": "10.0.0.11", "ports": [{"port": 6379, "protocol": "TCP"}]},
    }
    found = environment(POD, {"name": "c"}, Sources(services=[service]))
    assert found == {
        "REDIS_PRIMARY_SERVICE_HOST": "10.0.0.11",
        "REDIS_PRIMARY_SERVICE_PORT": "6379",
        "REDIS_PRIMARY_PORT": "tcp://10.0.0.11:6379",
        "REDIS_PRIMARY_PORT_6379_TCP": "tcp://10.0.0.11:6379",
        "REDIS_PRIMARY_PORT_6379_TCP_PROTO": "tcp",
        "REDIS_PRIMARY_PORT_6379_TCP_PORT": "6379",
        "REDIS_PRIMARY_PORT_6379_TCP_ADDR": "10.0.0.11",
    }
    unlinked = {**POD, "spec": {"containers": [], "enableServiceLinks": False}}
    assert environment(unlinked, {"name": "c"}, Sources(services=[service])) == {}


def test_downward_fields() -> None:
    assert format_map({"b": "2", "a": 'say "hi"'}) == 'a="say \\"hi\\""\nb="2"'
    with pytest.raises(ConfigError, match=r"unsupported fieldPath: spec\.nope"):
        pod_field(POD, "spec.nope", Sources())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("busybox", "busybox:latest"),
        ("a.test:5000/b/c", "a.test:5000/b/c:latest"),
        ("a/b:1", "a/b:1"),
        ("a@sha256:" + "0" * 64, "a@sha256:" + "0" * 64),
    ],
)
def test_image_references(name: str, expected: str) -> None:
    assert default_tag(name) == expected


@pytest.mark.parametrize("name", ["", "UPPER", "a b", "a:b:c", "-x"])
def test_what_is_no_image_reference(name: str) -> None:
    with pytest.raises(ValueError, match="invalid reference format"):
        default_tag(name)


@pytest.mark.parametrize(
    ("host", "image", "expected"),
    [
        ("https://index.docker.io/v1/", "busybox", True),
        ("docker.io", "busybox", True),
        ("quay.io", "quay.io/a/b:1", True),
        ("quay.io", "notquay.io/a/b:1", False),
        ("*.example.com", "r.example.com/x", True),
        ("*.example.com", "example.com/x", False),
        ("r.test/team", "r.test/team/x", True),
        ("r.test/team", "r.test/teamster/x", False),
        ("r.test:5000", "r.test/x", False),
    ],
)
def test_which_credentials_are_for_an_image(host: str, image: str, expected: bool) -> None:
    assert matches(host, image) is expected


def test_durations_read_as_in_go() -> None:
    assert [duration(s) for s in (0.0124, 1.5, 61.25)] == ["12ms", "1.5s", "1m1.25s"]


def test_log_lines() -> None:
    raw = b"2026-01-02T03:04:05.123456789Z stdout P part"
    assert parse_line(raw) == Line("2026-01-02T03:04:05.123456789Z", "stdout", True, b"part")
    assert parse_line(b"nonsense") is None
    assert line_time("1970-01-01T00:00:01.5Z") == 1.5
    assert line_time("1970-01-01T01:00:01.25+01:00") == 1.25
    line = Line("t", "stdout", False, b"x")
    assert render(line, LogOptions(timestamps=True), False) == b"t x\n"
    assert render(line, LogOptions(timestamps=True), True) == b"x\n"
    assert render(line, LogOptions(stream="stderr"), False) == b""


def test_dns_policies() -> None:
    host = parse_resolv_conf("# c\nnameserver 192.0.2.53\nsearch corp.test\noptions rotate\n")
    assert host == Dns(("192.0.2.53",), ("corp.test",), ("rotate",))
    cluster = pod_dns(POD, host, ["10.96.0.10"], "cluster.local")
    assert cluster.servers == ("10.96.0.10",)
    assert cluster.searches == ("ns.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.test")
    assert cluster.options == ("ndots:5",)
    on_host = {**POD, "spec": {"containers": [], "hostNetwork": True}}
    assert pod_dns(on_host, host, ["10.96.0.10"], "cluster.local") == host
    assert hosts_file(POD, ["10.0.0.2"], "cluster.local", "").endswith("10.0.0.2\tp\n")


def test_resources() -> None:
    assert (resources.cpu_shares(0), resources.cpu_shares(100), resources.cpu_shares(1000)) == (2, 102, 1024)
    assert (resources.cpu_quota(0), resources.cpu_quota(5), resources.cpu_quota(200)) == (0, 1000, 20000)
    limits = {"cpu": "1", "memory": "64Mi"}
    full = {"name": "a", "resources": {"limits": limits, "requests": limits}}
    pod: dict[str, Any] = {"metadata": {}, "spec": {"containers": [full]}}
    assert resources.qos_class(pod) == "Guaranteed"
    assert resources.pod_limits(pod) == resources.Limits(1024, 100000, 64 << 20)
    pod["spec"]["containers"].append({"name": "b"})
    assert resources.qos_class(pod) == "Burstable"
    assert resources.pod_limits(pod).memory == 0
    assert resources.oom_score(pod, full, 1 << 30) == 938
    pod["spec"]["containers"] = [{"name": "b"}]
    assert resources.qos_class(pod) == "BestEffort"


def test_back_off_doubles_and_is_forgotten() -> None:
    now = 1000.0
    backoff = Backoff(1.0, 4.0, lambda: now)
    assert backoff.remaining("k", now) == 0
    delays = []
    for _ in range(4):
        backoff.next("k", now)
        delays.append(backoff.remaining("k", now))
    assert delays == [1.0, 2.0, 4.0, 4.0]
    assert backoff.remaining("k", now - 3) == 1.0
    assert backoff.remaining("k", now + 100) == 0
