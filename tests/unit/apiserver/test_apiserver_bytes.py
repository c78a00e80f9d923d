"""Bytes that are objects: splicing, chunks, entries."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumo.kubernetes.apiserver import chunks as chunks_module
from kumo.kubernetes.apiserver.chunks import SortedChunks
from kumo.kubernetes.apiserver.entry import Entry, make_entry
from kumo.kubernetes.apiserver.keys import object_key, parse_key
from kumo.kubernetes.apiserver.splice import at_revision, at_version, to_stored, with_revision

pytestmark = pytest.mark.unit
OBJECTS = [
    {
        "spec": {"metadata": {"a": 1}},
        "metadata": {"name": "x", "resourceVersion": "7"},
        "kind": "K",
        "apiVersion": "v1",
    },
    {"apiVersion": "g/v1", "kind": "K", "metadata": {"labels": {"metadata": '"metadata":{'}, "name": "x"}},
    {"apiVersion": "v1", "kind": "K", "metadata": {}},
]


@pytest.mark.parametrize("obj", OBJECTS)
def test_the_revision_goes_in_and_out(obj: dict[str, object]) -> None:
    stored = to_stored(obj)
    assert list(json.loads(stored))[:3] == ["apiVersion", "kind", "metadata"]
    assert "resourceVersion" not in json.loads(stored)["metadata"]
    served = with_revision(stored, 42)
    assert json.loads(served)["metadata"]["resourceVersion"] == "42"
    assert at_revision(served, 7) == with_revision(stored, 7)
    assert json.loads(at_version(served, "other/v2"))["apiVersion"] == "other/v2"


def test_entries_know_labels_uid_and_owners() -> None:
    meta = {"name": "x", "uid": "u", "labels": {"a": "b"}, "ownerReferences": [{"uid": "o", "name": "n"}]}
    entry = make_entry("ns", "x", 5, to_stored({"apiVersion": "v1", "kind": "K", "metadata": meta}))
    assert (entry.labels, entry.uid, entry.owners, entry.key) == ({"a": "b"}, "u", ("o",), ("ns", "x"))
    later = entry.at(9)
    assert later.revision == 9 and later.object()["metadata"]["resourceVersion"] == "9"
    assert entry.object()["metadata"]["resourceVersion"] == "5"


def test_keys() -> None:
    assert object_key("", "pods", "ns", "n") == "/registry/core/pods/ns/n"
    assert object_key("apps", "deployments", "ns", "n") == "/registry/apps/deployments/ns/n"
    assert parse_key("/registry/core/pods/ns/n") == ("", "pods", "ns", "n")
    assert parse_key("/registry/apps/x/n") == ("apps", "x", "", "n")
    with pytest.raises(ValueError, match="no object's key"):
        parse_key("/other/a")


NAMES = st.lists(st.text(st.sampled_from("abc-."), min_size=1, max_size=4), max_size=60)


@given(NAMES, NAMES, st.integers(0, 5))
def test_chunks_are_a_sorted_map(put: list[str], gone: list[str], size: int) -> None:
    kept: dict[str, Entry] = {}
    found = SortedChunks()
    before, chunks_module.CHUNK = chunks_module.CHUNK, size + 1
    try:
        for revision, name in enumerate(put):
            entry = Entry("ns", name, revision, f'"{name}{revision}"'.encode())
            found.put(entry)
            kept[name] = entry
            for chunk in found.chunks:
                chunk.joined()
        for name in gone:
            if kept.pop(name, None) is not None:
                found.remove(name)
    finally:
        chunks_module.CHUNK = before
    ordered = [kept[name] for name in sorted(kept)]
    assert list(found) == ordered and len(found) == len(ordered)
    assert b",".join(c.joined() for c in found.chunks) == b",".join(e.raw for e in ordered)
    zipped = b"".join(c.zipped(i < len(found.chunks) - 1) for i, c in enumerate(found.chunks))
    assert (gzip.decompress(zipped) if zipped else b"") == b",".join(e.raw for e in ordered)
    for name in [*put[:5], *gone[:5], "", "b"]:
        assert list(found.after(name)) == [kept[n] for n in sorted(kept) if n > name]
