"""ServiceCIDR and IPAddress through the API: what is refused and in which words, what may change, tables."""

# ruff: noqa: E501 (the rows of tables are one line each)

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from kumo.api.errors import StatusError
from kumo.api.resources import GVR, SERVICES
from kumo.machinery.client import MERGE_PATCH, Client
from support.apiserver import running_apiserver

pytestmark = [pytest.mark.component, pytest.mark.asyncio(loop_scope="module")]

CIDRS = GVR("networking.k8s.io", "v1", "servicecidrs", False)
ADDRESSES = GVR("networking.k8s.io", "v1", "ipaddresses", False)
PARENT = {"resource": "services", "namespace": "d", "name": "x"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    async with running_apiserver(tmp_path_factory.mktemp("ranges")) as server:
        yield server.client


def cidr(name: str, *blocks: str) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": name},
        "spec": {"cidrs": list(blocks)},
    }


def address(name: str, parent: Any) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IPAddress",
        "metadata": {"name": name},
        "spec": {"parentRef": parent},
    }


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        (cidr("a"), "spec.cidrs: Required value: at least one CIDR required"),
        (cidr("a", "10.0.0.0/8", "10.0.0.0/9"), 'spec.cidrs: Invalid value: ["10.0.0.0/8","10.0.0.0/9"]: may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64'),
        (cidr("a", "10.0.0.0/24", "fd00::/64", "fd01::/64"), 'spec.cidrs: Invalid value: {"CIDRs":["10.0.0.0/24","fd00::/64","fd01::/64"]}: may only hold up to 2 values'),
        (cidr("a", "10.0.0.1/8"), 'spec.cidrs[0]: Invalid value: "10.0.0.1/8": must not have bits set beyond the prefix length'),
        (cidr("a", "FD00::/64"), 'spec.cidrs[0]: Invalid value: "FD00::/64": must be in canonical form ("fd00::/64")'),
        (address("1.2.3.4", None), "spec.parentRef: Required value"),
        (address("1.2.3.4", {}), "[spec.parentRef.resource: Required value, spec.parentRef.name: Required value]"),
        (address("1.2.3.4", {**PARENT, "resource": "a/b", "namespace": "%"}), """[spec.parentRef.resource: Invalid value: "a/b": may not contain '/', spec.parentRef.namespace: Invalid value: "%": may not contain '%']"""),
        (address("x", PARENT), 'metadata.name: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'),
        (address("fe80:0::1", PARENT), 'metadata.name: Invalid value: "fe80:0::1": must be in canonical form ("fe80::1")'),
    ],
)  # fmt: skip
async def test_what_is_refused(client: Client, obj: dict[str, Any], message: str) -> None:
    gvr = CIDRS if obj["kind"] == "ServiceCIDR" else ADDRESSES
    with pytest.raises(StatusError) as caught:
        await client.create(gvr, obj)
    assert caught.value.code == 422
    assert caught.value.message == f'{obj["kind"]}.networking.k8s.io "{obj["metadata"]["name"]}" is invalid: {message}'


async def test_ranges_only_grow_by_a_family(client: Client) -> None:
    await client.create(CIDRS, {**cidr("u", "10.99.0.0/24"), "status": {"conditions": [{"type": "Ready"}]}})
    for blocks, message in (
        (["10.98.0.0/24"], 'spec.cidrs[0]: Invalid value: "10.98.0.0/24": field is immutable'),
        (["10.98.0.0/24", "fd00::/64"], 'spec.cidrs[0]: Invalid value: "10.98.0.0/24": field is immutable'),
        (["10.99.0.0/24", "10.1.0.0/16"], "may specify no more than one IP for each IP family"),
        ([], "spec.cidrs: Invalid value: []: field is immutable"),
    ):
        with pytest.raises(StatusError) as caught:
            await client.patch(CIDRS, "u", {"spec": {"cidrs": blocks}}, MERGE_PATCH)
        assert caught.value.code == 422 and message in caught.value.message
    grown = await client.patch(CIDRS, "u", {"spec": {"cidrs": ["10.99.0.0/24", "fd00::/64"]}}, MERGE_PATCH)
    assert grown["spec"]["cidrs"] == ["10.99.0.0/24", "fd00::/64"]
    assert not grown.get("status"), "a status does not come along with a new object"


async def test_an_address_keeps_its_parent(client: Client) -> None:
    await client.create(ADDRESSES, address("9.9.9.9", PARENT))
    with pytest.raises(StatusError) as caught:
        await client.patch(ADDRESSES, "9.9.9.9", {"spec": {"parentRef": {"name": "y"}}}, MERGE_PATCH)
    shown = '{"Group":"","Resource":"services","Namespace":"d","Name":"y"}'
    assert f"spec.parentRef: Invalid value: {shown}: field is immutable" in caught.value.message
    labelled = await client.patch(ADDRESSES, "9.9.9.9", {"metadata": {"labels": {"a": "b"}}}, MERGE_PATCH)
    assert labelled["metadata"]["labels"] == {"a": "b"}


async def test_services_in_another_range(client: Client) -> None:
    def service(name: str) -> dict[str, Any]:
        spec = {"clusterIP": "203.0.113.10", "ports": [{"port": 80}]}
        return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}

    with pytest.raises(StatusError) as caught:
        await client.create(SERVICES, service("far"), "default")
    assert (
        "failed to allocate IP 203.0.113.10: the provided network does not match the current range"
        in caught.value.message
    )
    made = await client.create(CIDRS, cidr("test-net", "203.0.113.0/24"))
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    await client.update_status(CIDRS, {**made, "status": {"conditions": [ready]}})
    assert (await client.create(SERVICES, service("far"), "default"))["spec"]["clusterIPs"] == ["203.0.113.10"]
    with pytest.raises(StatusError) as caught:
        await client.create(SERVICES, service("twice"), "default")
    assert "provided IP is already allocated" in caught.value.message


async def test_what_a_deleted_service_held_is_free_at_once(client: Client) -> None:
    spec: dict[str, Any] = {"type": "NodePort", "ports": [{"port": 80}]}
    made = await client.create(SERVICES, {"metadata": {"name": "short-lived"}, "spec": spec}, "default")
    wanted = {**spec, "clusterIP": made["spec"]["clusterIP"], "ports": made["spec"]["ports"]}
    with pytest.raises(StatusError, match="already allocated"):
        await client.create(SERVICES, {"metadata": {"name": "second"}, "spec": wanted}, "default")
    await client.delete(SERVICES, "short-lived", "default")
    again = await client.create(SERVICES, {"metadata": {"name": "second"}, "spec": wanted}, "default")
    assert again["spec"]["clusterIP"] == made["spec"]["clusterIP"]
    await client.delete(SERVICES, "second", "default")
