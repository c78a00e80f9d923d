"""`kumo up --admission-control-config-file`: checked before anything starts, remembered, and explained when broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from kumo.cli import admission, instance
from kumo.cli.instance import InstanceError

pytestmark = pytest.mark.unit

GOOD = """
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: PodSecurity
  configuration:
    defaults: {enforce: baseline}
    exemptions: {namespaces: [kube-system]}
- name: ExtendedResourceToleration
- name: ResourceQuota
  configuration:
    limitedResources: [{resource: pods, matchScopes: [{scopeName: PriorityClass, operator: Exists}]}]
"""


def test_a_file_is_kept_and_read_at_every_start(tmp_path: Path) -> None:
    file = tmp_path / "given.yaml"
    file.write_text(GOOD)
    made = instance._choose(tmp_path / "data", 7000, "n")
    assert admission.admission(made) == {}
    admission.keep(made.root, {"admission_control_config_file": file})
    admission.keep(made.root, {"admission_control_config_file": None})
    found = admission.admission(made)
    assert found["pod_security"].defaults.enforce.level == "baseline"
    assert found["pod_security"].namespaces == {"kube-system"}
    assert found["extended_resource_toleration"] is True
    assert found["limited_resources"][0].resource == "pods"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind: [", "is no AdmissionConfiguration"),
        ("[]", "expected an object of kind AdmissionConfiguration"),
        ("kind: Other", "expected kind AdmissionConfiguration, got 'Other'"),
        (GOOD.replace("ExtendedResourceToleration", "Nonsense"), "unknown admission plugin: 'Nonsense'"),
        (GOOD.replace("baseline", "strict"), "must be one of privileged, baseline, restricted"),
        (GOOD.replace("[kube-system]", "7"), "is no AdmissionConfiguration"),
    ],
)
def test_a_bad_file_is_refused_and_not_kept(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "given.yaml"
    file.write_text(text)
    made = instance._choose(tmp_path / "data", 7000, "n")
    with pytest.raises(InstanceError, match=words):
        admission.keep(made.root, {"admission_control_config_file": file})
    assert admission.admission(made) == {}
    made.root.mkdir(exist_ok=True)
    (made.root / admission.FILE).write_text(text)
    with pytest.raises(InstanceError, match="To fix it: correct or remove"):
        admission.admission(made)
