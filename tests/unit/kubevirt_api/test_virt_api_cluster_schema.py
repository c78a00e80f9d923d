"""The schema of the KubeVirt object: what a cluster's owner may set, and what is refused at once."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.kubevirt.virt_api.install import kubevirt_object
from kumo.kubevirt.virt_api.schema.cluster import KUBEVIRT
from kumo.kubevirt.virt_api.validation.schema_check import check_schema

pytestmark = pytest.mark.unit


def problems(configuration: dict[str, Any]) -> list[str]:
    kubevirt = kubevirt_object(use_emulation=True)
    kubevirt["spec"]["configuration"] = configuration
    return [cause.message for cause in check_schema(KUBEVIRT, kubevirt)]


def test_the_object_of_a_first_start_is_valid() -> None:
    assert check_schema(KUBEVIRT, kubevirt_object(use_emulation=False)) == []


@pytest.mark.parametrize(
    "configuration",
    [
        {
            "developerConfiguration": {
                "cpuAllocationRatio": 2,
                "featureGates": ["HotplugVolumes"],
                "memoryOvercommit": 150,
            }
        },
        {"additionalGuestMemoryOverheadRatio": "1.5", "cpuRequest": "50m", "vmRolloutStrategy": "Stage"},
        {"network": {"defaultNetworkInterface": "masquerade"}, "migrations": {"bandwidthPerMigration": "64Mi"}},
        {"aSettingOfTomorrow": {"x": 1}, "developerConfiguration": {"another": True}},
    ],
)
def test_settings(configuration: dict[str, Any]) -> None:
    assert problems(configuration) == []


@pytest.mark.parametrize(
    ("configuration", "says"),
    [
        ({"developerConfiguration": {"cpuAllocationRatio": "many"}},
         'developerConfiguration.cpuAllocationRatio in body must be of type integer: "string"'),
        ({"additionalGuestMemoryOverheadRatio": 2},
         'additionalGuestMemoryOverheadRatio in body must be of type string: "integer"'),
        ({"developerConfiguration": {"featureGates": "A"}},
         'developerConfiguration.featureGates in body must be of type array: "string"'),
        ({"network": {"permitBridgeInterfaceOnPodNetwork": "no"}},
         'network.permitBridgeInterfaceOnPodNetwork in body must be of type boolean: "string"'),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense(configuration: dict[str, Any], says: str) -> None:
    assert problems(configuration) == [f"spec.configuration.{says}"]
