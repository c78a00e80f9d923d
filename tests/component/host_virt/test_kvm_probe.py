from __future__ import annotations

import time

import pytest

from kumo.host import kvm

pytestmark = pytest.mark.component


def test_the_probe_ends_in_time_and_gives_a_reason() -> None:
    began = time.monotonic()
    found = kvm.probe()
    assert time.monotonic() - began < kvm.TIMEOUT + 1.0  # the machine may be busy; alone it is 0.1 s
    assert found.reason
    assert found.usable is (found.reason == "guests run on hardware")


def test_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kvm, "DEVICE", "/dev/there-is-no-kvm")
    assert kvm.probe() == kvm.KvmProbe(
        False, "/dev/there-is-no-kvm does not exist: no virtualisation extensions, or the module is not loaded"
    )


@pytest.mark.parametrize(
    ("lines", "usable", "reason"),
    [
        (["real mode: ok", "long mode: ok", "speed: ok"], True, "guests run on hardware"),
        (["real mode: ok", "long mode: ok"], False, "speed: the guest did not end within 0.50 s"),
        (["real mode: the guest did not halt"], False, "real mode: the guest did not halt"),
        ([], False, "real mode: the guest did not end within 0.50 s"),
    ],
)
def test_verdicts(lines: list[str], usable: bool, reason: str) -> None:
    found = kvm._verdict(lines, 0.5)
    assert (found.usable, found.reason) == (usable, reason)
