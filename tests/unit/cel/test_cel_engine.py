"""CEL: values, messages, costs, limits."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest

from kumo.machinery.cel import (
    AUTHORIZER,
    BOOL,
    DYN,
    INT,
    STRING,
    Budget,
    CelError,
    CompileError,
    CostExceeded,
    Environment,
    list_of,
    schema_type,
    struct,
)
from kumo.machinery.cel.estimates import estimate
from kumo.machinery.cel.libraries.authorization import Authorizer, Decision, Question
from kumo.machinery.cel.schemas import adapter, declare
from kumo.machinery.cel.values import Lazy
from support.cel_table import TABLE

pytestmark = pytest.mark.unit
PLAIN = Environment({"self": DYN, "s": STRING, "l": list_of(INT)})


@pytest.mark.parametrize(("expression", "wanted"), TABLE)
def test_what_expressions_give(expression: str, wanted: str | None) -> None:
    program = PLAIN.compile(expression)
    if wanted is None:
        with pytest.raises(CelError):
            if program.evaluate({}) == "":
                raise CelError("an empty text is none either")
    else:
        assert str(program.evaluate({})).strip() == wanted


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (
            "s + 1",
            "ERROR: <input>:1:3: found no matching overload for '_+_' applied to '(string, int)'\n | s + 1\n | ..^",
        ),
        ("foo.bar", "ERROR: <input>:1:1: undeclared reference to 'foo' (in container '')\n | foo.bar\n | ^"),
        ("s.foo()", "ERROR: <input>:1:6: undeclared reference to 'foo' (in container '')\n | s.foo()\n | .....^"),
        ("a b", "ERROR: <input>:1:3: Syntax error: extraneous input 'b' expecting <EOF>\n | a b\n | ..^"),
        ("l[0", "ERROR: <input>:1:4: Syntax error: missing ']' at '<EOF>'\n | l[0\n | ...^"),
        ("s.x", "ERROR: <input>:1:2: type 'string' does not support field selection\n | s.x\n | .^"),
        ("[1, 'a']", "ERROR: <input>:1:5: expected type 'int' but found 'string'\n | [1, 'a']\n | ....^"),
        ("s.matches('(')", "ERROR: <input>:1:11: invalid matches argument\n | s.matches('(')\n | ..........^"),
        ("has(s)", "ERROR: <input>:1:5: invalid argument to has() macro\n | has(s)\n | ....^"),
        ("l.all(x.y, true)", "ERROR: <input>:1:8: argument must be a simple name\n | l.all(x.y, true)\n | .......^"),
        ("if", "ERROR: <input>:1:1: reserved identifier: if\n | if\n | ^"),
        (
            "'%s'.format([1, 2])",
            "ERROR: <input>:1:12: too many arguments supplied to string.format (expected 1, got 2)\n"
            " | '%s'.format([1, 2])\n | ...........^",
        ),
    ],
)
def test_what_does_not_compile(expression: str, message: str) -> None:
    with pytest.raises(CompileError) as caught:
        PLAIN.compile(expression)
    assert caught.value.message == message


def test_the_wrong_result_and_constants_that_cant_be_converted() -> None:
    with pytest.raises(CompileError) as caught:
        PLAIN.compile("s", [BOOL])
    assert (caught.value.kind, caught.value.message) == ("type", "must evaluate to bool")
    with pytest.raises(CompileError) as caught:
        PLAIN.compile("int('x') == 1")
    assert caught.value.kind == "program"


@pytest.mark.parametrize(
    ("expression", "cost"),
    [
        ("self.a.b == 'x'", 4),
        ("has(self.a)", 1),
        ("[1, 2, 3].all(x, x > 0)", 16),
        ("[1, 2, 3].exists(x, x == 3)", 19),
        ("[1, 2].map(x, x * 2)", 29),
        ("1 in [1, 2]", 0),
        ("'abc'.matches('b')", 1),
        ("self.?q.orValue('d') == 'd'", 2),
    ],
)
def test_costs(expression: str, cost: int) -> None:
    program = PLAIN.compile(expression)
    budget = Budget()
    program.evaluate({"self": {"a": {"b": "x"}}}, budget)
    assert program.cost == cost
    assert budget.remaining == 10_000_000 - cost


def test_what_runs_away_is_stopped() -> None:
    program = PLAIN.compile("l.all(x, l.all(y, l.all(z, x + y + z >= 0)))")
    began = time.process_time()
    with pytest.raises(CostExceeded) as caught:
        program.evaluate({"l": list(range(1000))}, Budget())
    assert caught.value.message == "operation cancelled: actual cost limit exceeded"
    assert time.process_time() - began < 5
    budget = Budget(total=10)
    with pytest.raises(CostExceeded):
        PLAIN.compile("l.all(x, x >= 0)").evaluate({"l": [1, 2, 3]}, budget)
    assert budget.overdrawn


@pytest.mark.parametrize(
    "expression",
    [
        "(" * 5000 + "1" + ")" * 5000,
        "1" + "+1" * 5000,
        "!" * 5000 + "true",
        "[" * 3000,
        "-" * 9999 + "1",
        "a" + ".b" * 9999,
    ],
)
def test_deep_expressions_are_refused_or_read(expression: str) -> None:
    with contextlib.suppress(CompileError):
        PLAIN.compile(expression)


def test_a_pattern_that_blows_up_elsewhere() -> None:
    began = time.process_time()
    assert PLAIN.compile("s.matches('(a+)+$')").evaluate({"s": "a" * 50_000 + "b"}) is False
    assert time.process_time() - began < 1


def test_errors_are_absorbed_by_logic() -> None:
    for expression in (
        "self.x / 0 == 1 || true",
        "true || self.x / 0 == 1",
        "!(false && self.nope)",
        "[0, 1].exists(i, 1 / i == 1)",
    ):
        assert PLAIN.compile(expression).evaluate({"self": {"x": 1}}) is True
    with pytest.raises(CelError, match="no such key: nope"):
        PLAIN.compile("self.nope == 1").evaluate({"self": {}})
    with pytest.raises(CelError, match="no such attribute"):
        PLAIN.compile("self.nope == 1").evaluate({})


SCHEMA = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "maxLength": 10},
        "namespace": {"type": "string"},
        "a-b": {"type": "integer"},
        "when": {"type": "string", "format": "date-time"},
        "share": {"type": "number"},
        "tags": {"type": "array", "maxItems": 4, "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "free": {"type": "array", "items": {"type": "string"}},
    },
}


def test_types_of_schemas() -> None:
    environment = Environment({"self": schema_type(SCHEMA, "T")})
    convert = adapter(SCHEMA)
    assert convert is not None
    value = convert(
        {"name": "n", "namespace": "x", "a-b": 3, "when": "2020-01-02T03:04:05Z", "share": 2, "tags": ["a", "b"]}
    )
    for expression in (
        "self.a__dash__b == 3",
        "self.__namespace__ == 'x' && self.namespace == 'x'",
        "self.when.getFullYear() == 2020 && self.share == 2.0",
        "self.tags == ['b', 'a'] && (self.tags + ['a', 'c']).size() == 3",
        "!has(self.free)",
    ):
        assert environment.compile(expression, [BOOL]).evaluate({"self": value}) is True, expression
    with pytest.raises(CompileError, match="undefined field 'other'"):
        environment.compile("self.other == 1")


@pytest.mark.parametrize(
    ("expression", "most"),
    [("self.name == 'x'", 3), ("self.tags.all(t, t == 'a')", 23), ("self.free.all(f, f == 'a')", 5_242_878)],
)
def test_estimates(expression: str, most: int) -> None:
    declared = declare(SCHEMA, "T")
    assert declared is not None
    program = Environment({"self": declared.type}).compile(expression)
    assert estimate(program.root, declared).most == most


def test_messages_lazy_variables_and_patches() -> None:
    inner = struct("Object.spec", {"replicas": INT})
    outer = struct("Object", {"spec": inner})
    environment = Environment({"object": DYN, "variables": struct("vars", {"n": INT})}, messages=[outer, inner])
    asked: list[int] = []

    def compute() -> int:
        asked.append(1)
        return 4

    program = environment.compile("Object{spec: Object.spec{replicas: variables.n + variables.n}}", [outer])
    assert program.evaluate({"variables": Lazy({"n": compute})}) == {"spec": {"replicas": 8}}
    assert asked == [1]
    with pytest.raises(CompileError, match="undefined field 'foo'"):
        environment.compile("Object{foo: 1}")
    patches = Environment({}, json_patch=True).compile(
        '[JSONPatch{op: "add", path: "/a/" + jsonpatch.escapeKey("x/y~z"), value: {"k": 1}}]'
    )
    assert patches.evaluate({}) == [{"op": "add", "path": "/a/x~1y~0z", "value": {"k": 1}}]


def test_authorizer() -> None:
    asked: list[Question] = []

    def decide(question: Question) -> Decision:
        asked.append(question)
        return Decision(question.verb == "get", reason="because")

    environment = Environment({"authorizer": AUTHORIZER})
    bindings: dict[str, Any] = {"authorizer": Authorizer(decide)}
    text = "authorizer.group('apps').resource('deployments').namespace('a').name('b').subresource('scale').check('get')"
    program = environment.compile(f"{text}.allowed()", [BOOL])
    assert program.evaluate(bindings) is True
    assert program.cost == 350_007
    assert asked == [Question("get", "", "apps", "deployments", "scale", "a", "b")]
    assert environment.compile("authorizer.path('/x').check('post').reason()").evaluate(bindings) == "because"
    other = environment.compile("authorizer.serviceAccount('ns', 'sa').path('/').check('get').allowed()")
    assert other.evaluate(bindings) is True
    assert asked[-1].service_account == ("ns", "sa")
