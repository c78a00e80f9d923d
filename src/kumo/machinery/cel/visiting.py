"""What walks a syntax tree: one method for each kind of node. The checker, the compiler and the estimates are such."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from kumo.machinery.cel.syntax import (
    Call,
    Comprehension,
    Expr,
    Ident,
    ListExpr,
    Literal,
    MapExpr,
    Select,
    StructExpr,
    is_bind,
)

T = TypeVar("T")


class Visitor(ABC, Generic[T]):
    """Makes a `T` of every node."""

    def visit(self, node: Expr) -> T:
        """What the node, with all below it, becomes."""
        if isinstance(node, Literal):
            return self._literal(node)
        if isinstance(node, Ident):
            return self._ident(node)
        if isinstance(node, Select):
            return self._select(node)
        if isinstance(node, Call):
            return self._call(node)
        if isinstance(node, ListExpr):
            return self._list(node)
        if isinstance(node, MapExpr):
            return self._map(node)
        if isinstance(node, StructExpr):
            return self._struct(node)
        assert isinstance(node, Comprehension)
        return self._bind(node) if is_bind(node) else self._fold(node)

    @abstractmethod
    def _literal(self, node: Literal) -> T: ...

    @abstractmethod
    def _ident(self, node: Ident) -> T: ...

    @abstractmethod
    def _select(self, node: Select) -> T: ...

    @abstractmethod
    def _call(self, node: Call) -> T: ...

    @abstractmethod
    def _list(self, node: ListExpr) -> T: ...

    @abstractmethod
    def _map(self, node: MapExpr) -> T: ...

    @abstractmethod
    def _struct(self, node: StructExpr) -> T: ...

    @abstractmethod
    def _bind(self, node: Comprehension) -> T:
        """A value given a name (`cel.bind`): a fold without a loop."""

    @abstractmethod
    def _fold(self, node: Comprehension) -> T: ...
