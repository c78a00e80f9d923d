"""`kumo up --kubelet-config` and `kumo join --kubelet-config` remember a checked file."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from kumo.cli import kubelet_options
from kumo.cli.instance import Instance, InstanceError
from kumo.kubernetes.kubelet.config import KubeletConfig

pytestmark = pytest.mark.unit
HEAD = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
CONFIG = KubeletConfig("n", "10.0.0.1", Path("/d"), "/kumo-1")


def keep(root: Path, given: str) -> None:
    kubelet_options.keep(root, {"kubelet_config": given})


def configured(root: Path) -> tuple[KubeletConfig, list[str]]:
    return kubelet_options.configured(cast("Instance", SimpleNamespace(root=root)), CONFIG)


def test_cli_kubelet_configuration_is_kept_until_it_is_given_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, root = tmp_path / "mine.yaml", tmp_path / "root"
    assert configured(root) == (CONFIG, [])
    file.write_text(HEAD + "maxPods: 7\nport: 999\n")
    keep(root, str(file))
    assert "fields of the KubeletConfiguration that have no effect here: port\n" in capsys.readouterr().out
    file.unlink()
    keep(root, "")
    found, without_effect = configured(root)
    assert (found.max_pods, found.port, without_effect) == (7, 10250, ["port"])
    keep(root, "none")
    assert configured(root) == (CONFIG, [])
    keep(root, "none")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("maxPods: 1\nmaxPods: 2\n", 'line 4: key "maxPods" already set in map'),
        ("maxPods: -1\n", "must not be a negative number"),
        ("evictionHard: {foo: 1Mi}\n", "unsupported eviction signal foo"),
    ],
)
def test_cli_kubelet_configuration_that_is_wrong_changes_nothing(tmp_path: Path, text: str, message: str) -> None:
    file, root = tmp_path / "mine.yaml", tmp_path / "root"
    file.write_text(HEAD + text)
    with pytest.raises(InstanceError, match=message):
        keep(root, str(file))
    assert configured(root) == (CONFIG, [])


def test_cli_kubelet_configuration_that_was_broken_afterwards_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / kubelet_options.FILE).write_text(HEAD + "nonsense: 1\n")
    with pytest.raises(InstanceError, match=r'(?s)unknown field "nonsense".*To fix it: .*--kubelet-config FILE'):
        configured(tmp_path)
    with pytest.raises(InstanceError, match="failed to read kubelet config file"):
        keep(tmp_path, str(tmp_path / "not-there"))
