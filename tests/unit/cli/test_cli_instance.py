"""The choices of an instance: names and ranges that follow from its directory, kept once made."""

from __future__ import annotations

import ipaddress
import json
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumo.cli import instance
from kumo.cli.instance import InstanceError
from kumo.cli.service import unit_name, unit_text
from kumo.cli.up import mirror

pytestmark = pytest.mark.unit


def test_the_default_directory_has_the_well_known_choices() -> None:
    made = instance._choose(instance.DEFAULT_DATA_DIR, instance.DEFAULT_PORT, "n")
    assert (made.id, made.pod_cidr, made.service_cidr) == ("0", "10.244.0.0/16", "10.96.0.0/16")
    assert (made.port, made.node_port) == (6443, 10250)
    assert (made.kubernetes_ip, made.cluster_dns) == ("10.96.0.1", "10.96.0.10")


@given(st.text("abcdefgh/", min_size=1, max_size=30))
def test_other_directories_have_ranges_of_their_own_and_short_names(name: str) -> None:
    made = instance._choose(Path("/srv") / name.strip("/"), 7000, "n")
    again = instance._choose(Path("/srv") / name.strip("/"), 7000, "n")
    assert made.id == again.id
    assert len(made.bridge) <= 15
    pods, services = (ipaddress.ip_network(c) for c in (made.pod_cidr, made.service_cidr))
    assert not pods.overlaps(services)
    assert ipaddress.ip_network(made.node_pod_cidr).subnet_of(pods)
    assert not pods.overlaps(ipaddress.ip_network("10.244.0.0/16"))
    assert made.node_port == 7001


def test_choices_are_kept_and_only_the_port_may_change(tmp_path: Path) -> None:
    first = instance.choose(tmp_path / "d", port=7000, node_name="one")
    assert not (tmp_path / "d").exists()
    instance.save(first)
    assert instance.load(tmp_path / "d") == first
    assert instance.choose(tmp_path / "d") == first
    assert instance.choose(tmp_path / "d", port=8000) == replace(first, port=8000, node_port=8001)
    with pytest.raises(InstanceError, match="called 'one'"):
        instance.choose(tmp_path / "d", node_name="two")
    assert (tmp_path / "d" / "instance.json").stat().st_mode & 0o777 == 0o600


def test_a_moved_directory_is_refused(tmp_path: Path) -> None:
    instance.save(instance.choose(tmp_path / "old"))
    (tmp_path / "link").symlink_to(tmp_path / "old")
    assert instance.load(tmp_path / "link") is not None
    (tmp_path / "old").rename(tmp_path / "new")
    with pytest.raises(InstanceError, match="copied or moved from"):
        instance.load(tmp_path / "new")
    assert instance.lost(tmp_path / "new") is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"a": 1}', "null"])
def test_settings_that_make_no_sense_are_told_and_can_be_removed(tmp_path: Path, text: str) -> None:
    (tmp_path / "instance.json").write_text(text)
    with pytest.raises(InstanceError, match="kumo reset"):
        instance.load(tmp_path)
    lost = instance.lost(tmp_path)
    assert lost is not None
    assert lost.data_dir == str(tmp_path)


def test_places_that_cannot_be_a_data_directory() -> None:
    with pytest.raises(InstanceError, match="too long"):
        instance.choose(Path("/var") / ("a" * 90))
    with tempfile.NamedTemporaryFile(prefix="kumo-") as file:  # A short path: pytest's own may be too long.
        below = Path(file.name) / "below"
        with pytest.raises(InstanceError, match="is a file"):
            instance.choose(below)
        assert instance.load(below) is None


def test_a_fact_for_each_choice_survives_the_file(tmp_path: Path) -> None:
    made = replace(instance.choose(tmp_path), mirrors={"docker.io": "http://127.0.0.1:5000"})
    instance.save(made)
    assert json.loads((tmp_path / "instance.json").read_text()) == asdict(made)


def test_mirrors() -> None:
    assert mirror("docker.io=http://127.0.0.1:5000") == ("docker.io", "http://127.0.0.1:5000")
    assert mirror("quay.io=https://mirror.example.org/q") == ("quay.io", "https://mirror.example.org/q")
    for wrong in ("docker.io", "=https://a", "docker.io=ftp://a", "docker.io=http://192.0.2.1"):
        with pytest.raises(InstanceError, match="--mirror"):
            mirror(wrong)


def test_units() -> None:
    assert unit_name(Path("/var/lib/kumo")) == "kumo.service"
    assert unit_name(Path("/srv/second")) == "kumo-second.service"
    text = unit_text(Path("/srv/second"), "/usr/bin/kumo")
    assert "ExecStart=/usr/bin/kumo up --data-dir /srv/second\n" in text
    assert "KillMode=process\n" in text
