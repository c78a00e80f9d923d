"""What the API server knows of each built-in kind beyond its schema: defaults, rules, and what a write may change.

`strategy_for(gvk)` gives the `Strategy` of a kind; `custom_strategy` that of a custom kind. The modules beside are
tables and small functions named after the kinds; upstream keeps the same in `pkg/apis/*/{defaults,validation}.go` and
`pkg/registry/*/strategy.go`. Used by the API server's handlers; talks to nobody.
"""

from kumo.kubernetes.apiserver.kinds.custom import custom_strategy
from kumo.kubernetes.apiserver.kinds.registry import strategy_for
from kumo.kubernetes.apiserver.kinds.strategy import Strategy

__all__ = ["Strategy", "custom_strategy", "strategy_for"]
