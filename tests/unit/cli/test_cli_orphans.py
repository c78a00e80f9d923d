"""Which shims are ended before containerd starts: those that nobody can give a task any more."""

from __future__ import annotations

import pytest

from kumo.cli.orphans import orphans

pytestmark = pytest.mark.unit


def shim(name: str, *more: str) -> list[str]:
    return ["/usr/bin/containerd-shim-runc-v2", "-namespace", "k8s.io", "-id", name, "-address", "/c.sock", *more]


@pytest.mark.parametrize(
    ("arguments", "has_task", "ended"),
    [
        (shim("a"), True, False),
        (shim("a"), False, True),
        (shim("a", "start"), False, True),  # the short-lived one that starts the shim
        (shim("a", "start"), True, True),
        (["/usr/bin/containerd-shim-runc-v2", "-v"], False, False),
        (["/usr/bin/containerd-shim-runc-v2", "-id"], False, False),
    ],
)
def test_which_shims_are_orphans(arguments: list[str], has_task: bool, ended: bool) -> None:
    assert orphans([(7, arguments)], lambda name: has_task and name == "a") == ([7] if ended else [])
