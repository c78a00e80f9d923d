"""What is let pass because the object's old state has it already, or because it is a template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Options:
    """How strict the validation of a pod spec is.

    `is_pod`: not a template. The others keep objects changeable that were stored under laxer rules: `any_selinux` and
    `comparing` (tolerations with Lt and Gt).
    """

    is_pod: bool = False
    any_selinux: bool = False
    comparing: bool = False


TEMPLATE = Options()
POD = Options(is_pod=True)


def options_for(old: dict[str, Any] | None, *, is_pod: bool) -> Options:
    """The options for a new state of what was `old` (a pod spec), or for a new object."""
    if not old:
        return POD if is_pod else TEMPLATE
    any_selinux = (old.get("securityContext") or {}).get("seLinuxChangePolicy") is not None
    comparing = any(t.get("operator") in ("Lt", "Gt") for t in old.get("tolerations") or ())
    if not (any_selinux or comparing):
        return POD if is_pod else TEMPLATE
    return Options(is_pod, any_selinux, comparing)
