"""The second round of mutating admission: what a later step changed is shown again to the steps before it.

Upstream runs the whole mutating chain at most twice; in the second round the built-in steps run again, and those
policies and webhooks of `reinvocationPolicy: IfNeeded` that had run before the change.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from kumo.api.objects import Object


@dataclass(slots=True)
class Invoked:
    """What one kind of step (webhooks, policies) remembers of a request: keys of what ran, and of what must again."""

    reinvocable: set[str] = field(default_factory=set)
    again: set[str] = field(default_factory=set)
    output: Object | None = None
    """The object as the steps left it in the first round."""

    def require(self) -> None:
        """Something has changed: what ran so far and wants to know must run again."""
        self.again |= self.reinvocable
        self.reinvocable = set()


@dataclass(slots=True)
class Reinvocation:
    """One request's way through mutating admission."""

    second: bool = False
    needed: bool = False
    webhooks: Invoked = field(default_factory=Invoked)
    policies: Invoked = field(default_factory=Invoked)
