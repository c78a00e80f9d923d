"""The guest's reader of cloud configuration, against PyYAML: the same values come out."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import kumo.host.demo
from kumo.host.demo.initramfs import Entry, archive

SCRIPT = Path(kumo.host.demo.__file__).parent / "guest" / "flatten.awk"
AWK = next(
    ([p, "awk"] if p.endswith("busybox") else [p] for n in ("busybox", "mawk", "awk") if (p := shutil.which(n))), []
)

pytestmark = pytest.mark.unit

CASES = {
    "plain": "#cloud-config\nhostname: vm1\npassword: s3cret   # not me\nssh_pwauth: True\n",
    "flow": "chpasswd: {expire: false, list: [a, 'b: c', \"d, e\"]}\nempty: []\n",
    "lists": "runcmd:\n- echo one > /tmp/x\n- [sh, -c, \"echo 'two'\"]\n- - ls\n  - -l\nafter: x\n",
    "maps in lists": """
users:
- default
- name: bob
  sudo: ["ALL=(ALL) NOPASSWD:ALL"]
  keys:
    - ssh-rsa AAA b@c
""",
    "texts": """
write_files:
  - path: /a
    content: |
      one
        two

      back\\slash
    permissions: '0600'
folded: >-
  a
  b
""",
    "quotes": "a: 'it''s'\nb: \"tab\\there\"\n\"c d\": e\nurl: http://x.y/z:1\n",
    "flow over lines": "multi: [a,\n  b]\nnext: 1\n",
    "not a map": "Hi.\n",
    "json": json.dumps({"uuid": "i-2", "public_keys": {"a": "ssh-ed25519 AAA x"}, "l": [1, {"b": "c d"}]}),
    "json over lines": json.dumps({"instance-id": "a.b", "local-hostname": "testvm"}, indent=2),
    "network": "version: 2\nethernets:\n  eth0:\n    addresses:\n      - 10.0.0.5/24\n    gateway4: 10.0.0.1\n",
}


def flattened(value: Any, path: str = "") -> dict[str, str]:
    if isinstance(value, dict):
        pairs = list(value.items())
    elif isinstance(value, list):
        pairs = list(enumerate(value))
    else:
        text = {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)
        return {path: text}
    found: dict[str, str] = {}
    for key, inner in pairs:
        found |= flattened(inner, f"{path}.{key}" if path else str(key))
    return found


@pytest.mark.parametrize("case", CASES)
def test_it_reads_what_yaml_says(case: str, tmp_path: Path) -> None:
    source = tmp_path / "user-data"
    source.write_text(CASES[case])
    done = subprocess.run([*AWK, "-f", SCRIPT, source], capture_output=True, text=True, check=True)
    lines = dict(line.split("=", 1) for line in done.stdout.splitlines())
    found = {k: v.replace("\\\\", "\0").replace("\\n", "\n").replace("\0", "\\") for k, v in lines.items()}
    wanted = yaml.safe_load(CASES[case])
    expected = flattened(wanted) if isinstance(wanted, dict) else {}
    assert {k: v.lower() if v in ("True", "False") else v for k, v in found.items()} == expected


def test_an_archive_is_read_back_by_cpio(tmp_path: Path) -> None:
    data = archive([Entry("bin"), Entry("bin/a", b"hello", 0o755), Entry("bin/b", link="a")])
    done = subprocess.run(["cpio", "-it", "--quiet"], input=data, capture_output=True, check=True)
    assert done.stdout.decode().split() == ["dev", "dev/console", "bin", "bin/a", "bin/b"]
