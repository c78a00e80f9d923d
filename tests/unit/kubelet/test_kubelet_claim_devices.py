"""CDI specs and the record of prepared claims, by tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kumo.kubernetes.kubelet.claims import cdi
from kumo.kubernetes.kubelet.claims.records import ClaimRecord, PreparedDevice, decode, encode
from kumo.kubernetes.kubelet.devices.options import DeviceOptions

pytestmark = pytest.mark.unit
KIND = "vendor.example/gpu"


def spec(common: Any = None, **devices: Any) -> dict[str, Any]:
    listed = [{"name": n, "containerEdits": e} for n, e in devices.items()]
    return {"cdiVersion": "0.6.0", "kind": KIND, "devices": listed, "containerEdits": common or {}}


def test_cdi_edits_become_options() -> None:
    found = cdi.options(
        [f"{KIND}=a", f"{KIND}=b", f"{KIND}=a"],
        [
            spec(
                {"env": ["ALL=1", "X=common"]},
                a={
                    "env": ["X=a=b"],
                    "deviceNodes": [{"path": "/dev/a"}, {"path": "/dev/c", "hostPath": "/dev/d", "permissions": "r"}],
                },
                b={"mounts": [{"hostPath": "/h", "containerPath": "/c", "options": ["ro", "bind"]}]},
            )
        ],
    )
    assert found == DeviceOptions(
        {"ALL": "1", "X": "a=b"},
        {"/dev/a": ("/dev/a", "rwm"), "/dev/c": ("/dev/d", "r")},
        {"/c": ("/h", True)},
    )


@pytest.mark.parametrize(
    ("name", "known", "text"),
    [
        (f"{KIND}=no", [spec(a={})], f"unresolvable CDI devices {KIND}=no"),
        ("other/gpu=a", [spec(a={})], "unresolvable CDI devices other/gpu=a"),
        (f"{KIND}=a", [spec(a={"hooks": [{"hookName": "createContainer", "path": "/x"}]})], "hooks are not supported"),
        (f"{KIND}=a", [spec(a={"deviceNodes": [{}]})], f"CDI device {KIND}=a is not described as it should be"),
        (f"{KIND}=a", [spec(a={"env": 3})], f"CDI device {KIND}=a is not described as it should be"),
    ],
)
def test_cdi_devices_that_cannot_be_had(name: str, known: Any, text: str) -> None:
    with pytest.raises(cdi.CdiError, match=text):
        cdi.options([name], known)


def test_cdi_specs_of_later_folders_count_more(tmp_path: Path) -> None:
    first, second = tmp_path / "etc", tmp_path / "run"
    for folder, value in ((first, "static"), (second, "dynamic")):
        folder.mkdir()
        (folder / "v.json").write_text(json.dumps(spec(a={"env": [f"X={value}"]})))
    (second / "broken.json").write_text("{")
    (second / "odd.json").write_text("[]")
    (first / "more.yaml").write_text(f"kind: {KIND}\ndevices: [{{name: b, containerEdits: {{env: [Y=1]}}}}]\n")
    known = cdi.specs((first, second, tmp_path / "none"))
    assert cdi.options([f"{KIND}=a", f"{KIND}=b"], known).environment == {"X": "dynamic", "Y": "1"}


@pytest.mark.parametrize(
    ("requests", "asked", "expected"),
    [
        ((), "r", True),
        (("r",), "", True),
        (("r",), "r", True),
        (("s",), "r", False),
        (("r/big",), "r", True),
        (("r/big",), "r/big", True),
    ],
)
def test_devices_serve_requests(requests: tuple[str, ...], asked: str, expected: bool) -> None:
    assert PreparedDevice("p", "d", requests, ()).serves(asked) is expected


def test_claim_records_survive() -> None:
    device = PreparedDevice("p", "d", ("r",), (f"{KIND}=a",))
    record = ClaimRecord("u", "c", "ns", {"p1", "p2"}, {"driver": [device]})
    content = encode({"u": record})
    assert decode(content) == {"u": record}
    for broken in (b"", b"[]", b"{}", content.replace(b"driver", b"divers"), b'{"Data": 1, "Checksum": 1}'):
        with pytest.raises(ValueError):
            decode(broken)
