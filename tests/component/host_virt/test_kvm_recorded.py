"""The probe in the background: whoever asks for its result waits for it, and finds out himself when there is none."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from kumo.host import kvm

pytestmark = pytest.mark.component


def test_the_result_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "kvm.json"
    began = time.monotonic()
    kvm.begin(path)
    begun = time.monotonic() - began
    found = kvm.recorded(path)
    assert found.reason
    assert kvm.recorded(path) == found, "read again, not probed again"
    assert begun < kvm.TIMEOUT, "the caller does not wait for the probe"


@pytest.mark.parametrize("text", [None, "", "{}", "[1]"])
def test_without_a_result_it_is_found_out(tmp_path: Path, text: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    probed = kvm.KvmProbe(False, "asked")
    monkeypatch.setattr(kvm, "probe", lambda: probed)
    path = tmp_path / "kvm.json"
    if text is not None:
        path.write_text(text)
    assert kvm.recorded(path) == probed
