"""CEL as Kubernetes 1.36 speaks it: compiled against declared types, evaluated within a budget.

    environment = Environment({"object": DYN, "params": DYN, "authorizer": AUTHORIZER})
    program = environment.compile("object.spec.replicas <= params.most", result=[BOOL])   # raises CompileError
    budget = Budget()
    program.evaluate({"object": {...}, "params": {...}, "authorizer": Authorizer(...)}, budget)   # raises CelError

Lexer and parser make the syntax tree (macros expanded), the checker gives types, the compiler makes closures that
count cost as cel-go does. `schema_type(schema, name)` is the type of objects of an OpenAPI or structural schema.
"""

from kumo.machinery.cel.budget import Budget
from kumo.machinery.cel.environment import Environment, Program
from kumo.machinery.cel.errors import CelError, CompileError, CostExceeded, TakesLong
from kumo.machinery.cel.schemas import schema_type
from kumo.machinery.cel.types import (
    AUTHORIZER,
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    NULL,
    RESOURCE_CHECK,
    STRING,
    TIMESTAMP,
    UINT,
    Type,
    list_of,
    map_of,
    optional_of,
    struct,
)

__all__ = [
    "AUTHORIZER",
    "BOOL",
    "BYTES",
    "DOUBLE",
    "DURATION",
    "DYN",
    "INT",
    "NULL",
    "RESOURCE_CHECK",
    "STRING",
    "TIMESTAMP",
    "UINT",
    "Budget",
    "CelError",
    "CompileError",
    "CostExceeded",
    "Environment",
    "Program",
    "TakesLong",
    "Type",
    "list_of",
    "map_of",
    "optional_of",
    "schema_type",
    "struct",
]
