"""Refusals in virt-api's words: its resources are named in the singular, and its conflicts say what is in the way."""

from __future__ import annotations

from kumo.api.errors import StatusError, conflict, forbidden
from kumo.kubevirt.common.names import GROUP

VM_NOT_RUNNING = "VM is not running"
VMI_NOT_RUNNING = "VMI is not running"
RECOVERY_REQUIRED = (
    "VM recovery required: Volume migration failed, leaving some volumes pointing to non-consistent targets; manual "
    "intervention is needed to reassign them to their original volumes."
)


def vm_conflict(name: str, why: str) -> StatusError:
    """409: the VirtualMachine is not in a state for that."""
    return conflict(GROUP, "virtualmachine", name, why)


def vmi_conflict(name: str, why: str) -> StatusError:
    """409: the VirtualMachineInstance is not in a state for that."""
    return conflict(GROUP, "virtualmachineinstance", name, why)


def vmi_forbidden(name: str, why: str) -> StatusError:
    """403: that is not done with such a VirtualMachineInstance."""
    return forbidden(GROUP, "virtualmachineinstance", name, why)
