"""Names, quantities, selectors, IntOrString, JSON paths, field messages."""

from __future__ import annotations

import time
import uuid
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumo.api import fields, intstr, names, quantities
from kumo.api.json_path import JsonPath
from kumo.api.objects import new_uid, timestamp
from kumo.api.selectors import (
    EVERYTHING,
    Requirement,
    Selector,
    matches,
    parse_field_selector,
    parse_label_selector,
    to_text,
)

pytestmark = pytest.mark.unit

SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)


def test_names() -> None:
    assert names.check_subdomain("a.b-c.1") == [] and names.check_label("a-1") == []
    assert names.check_subdomain("X") == [SUBDOMAIN]
    assert names.check_label("X") == [LABEL]
    assert names.check_label("a.b") == ["must not contain dots"]
    assert names.check_label("a" * 64) == ["must be no more than 63 characters"]
    assert names.check_label_value("a" * 64) == ["must be no more than 63 bytes"]
    assert names.check_qualified_name("example.com/My_name.1") == []
    assert names.check_qualified_name("/x") == ["prefix part must be non-empty"]
    assert names.check_label_value("") == []
    assert names.check_port(0) == ["must be between 1 and 65535, inclusive"]
    assert names.check_port_name("http") == []
    assert names.check_path_segment("system:node") == [] and names.check_path_segment("a/b") == ["may not contain '/'"]


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("1", "1"), ("0.5", "500m"), ("1000m", "1"), ("1024Mi", "1Gi"), ("1.5Gi", "1536Mi"), ("1e3", "1e3"),
        ("1000", "1k"), ("1500", "1500"), ("0", "0"), ("-1", "-1"), ("100m", "100m"), ("1025Ki", "1025Ki"),
        ("0.5Ki", "512"), ("1E", "1E"), ("12345678900", "12345678900"), ("1000k", "1M"), ("0.0001m", "100n"),
    ],
)  # fmt: skip
def test_quantities(text: str, canonical: str) -> None:
    assert quantities.canonical(text) == canonical
    assert quantities.parse(canonical) == quantities.parse(text)


@pytest.mark.parametrize("text", ["", "x", "1x", "1 Gi", "--1", "1Gi1", "1eX"])
def test_no_quantities(text: str) -> None:
    with pytest.raises(ValueError, match="quantities must match the regular expression"):
        quantities.canonical(text)


amounts = st.from_regex(r"\A-?[0-9]{1,6}(\.[0-9]{1,3})?(m|k|M|G|Ki|Mi|Gi|e3)?\Z")


@given(amounts)
def test_canonical_quantities_are_stable_and_equal(text: str) -> None:
    once = quantities.canonical(text)
    assert quantities.canonical(once) == once
    assert quantities.parse(once) == quantities.parse(text)


@given(st.integers(-(10**15), 10**15), st.booleans())
def test_quantities_of_numbers(number: int, binary: bool) -> None:
    assert quantities.parse(quantities.to_text(Fraction(number), binary=binary)) == number


LABELS = st.dictionaries(st.sampled_from("abc"), st.sampled_from(["x", "y", ""]), max_size=3)


def test_label_selectors() -> None:
    selector = parse_label_selector("a=b,c!=d, e in (x, y),f notin (z),g,!h")
    assert selector.matches({"a": "b", "e": "x", "g": ""})
    assert not selector.matches({"a": "b", "e": "x", "g": "", "h": ""})
    assert not selector.matches({"a": "b", "e": "q", "g": ""})
    assert selector.exact("a") == "b" and selector.exact("c") is None
    assert parse_label_selector(" ") is EVERYTHING and EVERYTHING.matches({}) and not EVERYTHING
    assert parse_label_selector("b,a") == parse_label_selector("a,b")
    assert hash(parse_label_selector("b,a")) == hash(parse_label_selector("a,b"))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a,", "found '', expected: identifier after ','"),
        ("a in x", "unable to parse requirement: found 'x' expected: '('"),
        ("=a", "unable to parse requirement: found '=', expected: !, identifier, or 'end of string'"),
    ],
)
def test_bad_label_selectors(text: str, why: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_label_selector(text)
    assert str(caught.value) == why


def requirements(operators: list[str], *choices: tuple[str, ...]) -> st.SearchStrategy[Requirement]:
    return st.builds(Requirement, st.sampled_from("abc"), st.sampled_from(operators), st.sampled_from(choices))


REQUIREMENTS = (
    requirements(["=", "!="], ("x",), ("y",), ("",))
    | requirements(["in", "notin"], ("x",), ("x", "y"))
    | requirements(["exists", "!"], ())
)


@given(st.lists(REQUIREMENTS, max_size=4), LABELS)
def test_selectors_survive_their_text(wanted: list[Requirement], labels: dict[str, str]) -> None:
    selector = Selector(tuple(sorted(wanted)))
    again = parse_label_selector(str(selector))
    assert again == selector
    assert again.matches(labels) == all(r.holds(labels) for r in wanted)


@given(LABELS)
def test_selector_objects_and_texts_agree(labels: dict[str, str]) -> None:
    obj = {
        "matchLabels": {"a": "x"},
        "matchExpressions": [
            {"key": "b", "operator": "In", "values": ["x", "y"]},
            {"key": "c", "operator": "DoesNotExist"},
        ],
    }
    assert matches(obj, labels) == parse_label_selector(to_text(obj)).matches(labels)


def test_field_selectors() -> None:
    selector = parse_field_selector(r"metadata.name=a,status.phase!=Failed,x==a\,b")
    assert selector.matches({"metadata.name": "a", "status.phase": "Running", "x": "a,b"})
    assert selector.exact("x") == "a,b"
    with pytest.raises(ValueError, match="invalid selector: 'a'; can't understand 'a'"):
        parse_field_selector("a")


def test_int_or_string() -> None:
    assert intstr.scaled("25%", 10, round_up=True) == 3 and intstr.scaled("25%", 10, round_up=False) == 2
    assert intstr.scaled(4, 10, round_up=True) == 4
    with pytest.raises(ValueError, match="not a percentage"):
        intstr.scaled("x", 1, round_up=True)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".spec.a", [1]),
        ("{.spec['a']}", [1]),
        (".items[*].n", [1, 2]),
        (".items[1].n", [2]),
        (".items[-1].n", [2]),
        ('.items[?(@.k=="y")].n', [2]),
        (".items[?(@.n>1)].k", ["y"]),
        ("..n", [1, 2]),
        (r".metadata.labels.x\.y/z", ["q"]),
        (".missing.path", []),
    ],
)
def test_json_paths(path: str, found: list[object]) -> None:
    value = {
        "spec": {"a": 1},
        "items": [{"k": "x", "n": 1}, {"k": "y", "n": 2}],
        "metadata": {"labels": {"x.y/z": "q"}},
    }
    assert JsonPath(path).find(value) == found


def test_field_messages() -> None:
    assert fields.invalid("a", "x", "why").message == 'Invalid value: "x": why'
    assert fields.invalid("a", {"b": True}, "why").message == 'Invalid value: {"b":true}: why'
    assert fields.unsupported("a", "x", ("y", "z")).message == 'Unsupported value: "x": supported values: "y", "z"'
    assert fields.required("a") == ("a", "Required value", "FieldValueRequired")
    assert fields.forbidden("a", "no").message == "Forbidden: no"
    assert fields.too_many("a", 3, 1).message == "Too many: 3: must have at most 1 item"


def test_uids_are_random_uuids() -> None:
    made = {new_uid() for _ in range(1000)}
    assert len(made) == 1000
    for text in made:
        found = uuid.UUID(text)
        assert (str(found), found.version, found.variant) == (text, 4, uuid.RFC_4122)


@given(st.floats(-1e10, 1e11) | st.integers(-(10**10), 10**11))
def test_times_are_whole_seconds(at: float) -> None:
    assert timestamp(at) == timestamp(at) == time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
