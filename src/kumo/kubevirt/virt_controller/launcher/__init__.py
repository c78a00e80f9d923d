"""The launcher pod: from a VirtualMachineInstance and the cluster's settings to a Pod. Pure functions.

`pod.launcher_pod` gives the whole; `overhead` says how much memory a virtual machine costs beyond its guest.
"""

from kumo.kubevirt.virt_controller.launcher.overhead import memory_overhead
from kumo.kubevirt.virt_controller.launcher.pod import LauncherConfig, launcher_pod

__all__ = ["LauncherConfig", "launcher_pod", "memory_overhead"]
