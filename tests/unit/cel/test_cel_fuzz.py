"""Expressions and definitions made at random: refused in words, or used without a crash."""

from __future__ import annotations

import contextlib
import copy
import random
from typing import Any

import pytest

from kumo.api.errors import StatusError
from kumo.api.resources import GVK
from kumo.api.schema import DecodeError, builtin_schema
from kumo.kubernetes.apiserver.definitions import family_of
from kumo.kubernetes.apiserver.kinds import strategy_for
from kumo.machinery.cel import DYN, INT, STRING, Budget, CelError, CompileError, Environment, list_of
from support.cel_table import TABLE
from support.custom_definitions import certificate, gateway, prometheus

pytestmark = pytest.mark.unit
PIECES = [
    *"()[]{},+-*/%<>!?:",
    "self",
    "s",
    "l",
    "x",
    ".",
    "?.",
    "==",
    "&&",
    "||",
    "in",
    "1",
    "2u",
    "1.5",
    "'a'",
    "b'b'",
    "has",
]
PIECES += [
    "all",
    "map",
    "exists",
    "size",
    "matches",
    "split",
    "format",
    "dyn",
    "duration",
    "optMap",
    "sortBy",
    "quantity",
]
VALUES: list[dict[str, Any]] = [
    {"self": {"a": [1, "x", None, {"b": 2.5}], "b": True}, "s": "abc", "l": [3, 1, 2]},
    {"self": None, "s": "", "l": []},
    {"self": [1, [2]], "s": "x" * 100, "l": [2**63 - 1, -(2**63)]},
]
KEYWORDS = [
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
    "default",
    "enum",
    "anyOf",
    "not",
    "items",
    "nullable",
    "type",
]
KEYWORDS += [
    "additionalProperties",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-embedded-resource",
    "pattern",
]
ODD: list[Any] = [None, 1, "x", [], {}, True, -1, ["a"], {"type": "object"}, {"type": "array"}, 1.5, "(", "map", "set"]
DEFINITION = GVK("apiextensions.k8s.io", "v1", "CustomResourceDefinition")


@pytest.mark.parametrize("seed", range(4))
def test_expressions(seed: int) -> None:
    chance = random.Random(seed)
    environment = Environment({"self": DYN, "s": STRING, "l": list_of(INT)})
    texts = [text for text, _ in TABLE]
    for _ in range(1500):
        text = chance.choice(texts)
        first, last = sorted(chance.sample(range(len(text) + 1), 2))
        text = text[:first] + chance.choice([*PIECES, *texts]) + text[last:]
        if chance.random() < 0.3:
            text = " ".join(chance.choices(PIECES, k=chance.randint(1, 12)))
        try:
            program = environment.compile(text)
        except CompileError:
            continue
        for value in VALUES:
            with contextlib.suppress(CelError):
                program.evaluate(value, Budget(100_000, 100_000))


def _changed(value: Any, chance: random.Random) -> Any:
    if isinstance(value, list):
        return [_changed(item, chance) for item in value]
    if not isinstance(value, dict):
        return value
    out = {}
    for key, item in value.items():
        out[key] = chance.choice(ODD) if chance.random() < 0.02 else _changed(item, chance)
        if chance.random() < 0.01:
            out[chance.choice(KEYWORDS)] = chance.choice(ODD)
    return out


@pytest.mark.parametrize("seed", range(4))
def test_definitions(seed: int) -> None:
    chance = random.Random(seed)
    strategy, schema = strategy_for(DEFINITION), builtin_schema(DEFINITION)
    listener = {"name": "a", "port": 80, "protocol": "HTTP", "tls": {"mode": "x"}}
    claim = {"apiVersion": "v1", "kind": "P", "metadata": {}}
    spec = {"gatewayClassName": "c", "listeners": [listener], "storage": {"volumeClaimTemplate": claim}}
    for _ in range(150):
        wanted = _changed(chance.choice([gateway, certificate, prometheus])(), chance)
        with contextlib.suppress(DecodeError, StatusError):
            made = schema.decode(wanted).object
            made.setdefault("metadata", {}).setdefault("name", "x")
            strategy.default(made)
            strategy.prepare_create(made)
            if strategy.validate_create(made):
                continue
            for resource in family_of(made, 1).values():
                obj = {"apiVersion": "a/b", "kind": "K", "metadata": {"name": "a"}, "spec": _changed(spec, chance)}
                read = resource.schema.decode(obj).object
                resource.strategy.default(read)
                resource.strategy.prepare_create(read)
                resource.strategy.validate_create(read)
                resource.strategy.validate_update(read, copy.deepcopy(read))
