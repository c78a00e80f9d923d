"""The OpenStack client and kubectl see the same machines, and the machines are real."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.cloud import Cloud, vm_manifest
from support.demo_disk import demo_disk

pytestmark = pytest.mark.e2e


def shown(cloud: Cloud, *arguments: str) -> Any:
    """A command's output as JSON, decoded."""
    return json.loads(cloud.openstack(*arguments, "-f", "json").stdout)


@pytest.fixture(scope="module")
def image(cloud: Cloud) -> Iterator[str]:
    """The demo disk, uploaded; its id."""
    bare = ("--disk-format", "qcow2", "--container-format", "bare")
    made = shown(cloud, "image", "create", "demo-e2e", *bare, "--file", str(demo_disk()))
    assert made["status"] == "active"
    yield made["id"]
    cloud.openstack("image", "delete", made["id"])


def test_a_server_boots_from_an_uploaded_image(cloud: Cloud, image: str, tmp_path: Path) -> None:
    script = tmp_path / "user-data"
    script.write_text("#!/bin/sh\necho user data was here > /dev/ttyS0\n")
    cloud.openstack("keypair", "create", "e2e")
    made = shown(
        cloud, "server", "create", "e2e", "--image", image, "--flavor", "m1.nano", "--key-name", "e2e",
        "--user-data", str(script), "--wait",
    )  # fmt: skip
    try:
        assert made["status"] == "ACTIVE"
        (vm,) = [v for v in cloud.get("vm", "-A")["items"] if v["metadata"]["uid"] == made["id"]]
        assert vm["status"]["printableStatus"] == "Running"

        def console() -> str:
            return cloud.openstack("console", "log", "show", "e2e").stdout

        cloud.wait(lambda: "login as 'cirros' user" in console(), 90, "the guest's login")
        cloud.wait(lambda: "user data was here" in console(), 30, "the user data's run")

        def state() -> str:
            return str(shown(cloud, "server", "show", "e2e")["status"])

        for action, wanted in (("pause", "PAUSED"), ("unpause", "ACTIVE"), ("stop", "SHUTOFF"), ("start", "ACTIVE")):
            cloud.openstack("server", action, "e2e")
            cloud.wait(lambda wanted=wanted: state() == wanted, 60, wanted)
        cloud.openstack("server", "reboot", "--hard", "--wait", "e2e")
        done = [e["Action"] for e in shown(cloud, "server", "event", "list", "e2e")]
        assert done == ["reboot", "start", "stop", "unpause", "pause", "create"]
    finally:
        cloud.openstack("server", "delete", "e2e", "--wait")
        cloud.openstack("keypair", "delete", "e2e")
    assert made["id"] not in [v["metadata"]["uid"] for v in cloud.get("vm", "-A")["items"]]


def test_a_machine_of_kubectls_is_a_server(cloud: Cloud) -> None:
    cloud.apply(vm_manifest("bykubectl"))
    try:

        def row() -> dict[str, Any]:
            found = shown(cloud, "server", "list", "--all-projects", "--name", "bykubectl")
            return found[0] if found else {}

        cloud.wait(lambda: row().get("Status") == "ACTIVE", 60, "the machine as an ACTIVE server")
        assert row()["Name"] == "bykubectl"
    finally:
        cloud.kubectl("delete", "vm", "bykubectl", "--wait")


def test_a_token_opens_both_doors(cloud: Cloud) -> None:
    token = cloud.openstack("token", "issue", "-f", "value", "-c", "id").stdout.strip()
    server = ("--server", f"https://127.0.0.1:{cloud.port}", "--certificate-authority", f"{cloud.data_dir}/pki/ca.crt")
    who = cloud.kubectl("--kubeconfig", "/dev/null", *server, "--token", token, "auth", "whoami", "-o", "json").stdout
    assert json.loads(who)["status"]["userInfo"]["username"] == "admin"
    assert base64.urlsafe_b64decode(token.split(".")[0] + "==")
