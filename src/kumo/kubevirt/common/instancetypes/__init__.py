"""Instance types and preferences applied to the spec of a virtual machine instance. Pure functions.

virt-api validates and expands with them, virt-controller starts instances with them. `apply` does it all; `cpu`,
`devices` and `preferences` are its parts, `requirements` what a preference demands, `find` where the objects are.
"""

from kumo.kubevirt.common.instancetypes.apply import Conflict, apply
from kumo.kubevirt.common.instancetypes.requirements import check_requirements, check_spread

__all__ = ["Conflict", "apply", "check_requirements", "check_spread"]
