"""From a VirtualMachineInstance to libvirt's domain XML, as a pure function: `domain_xml(vmi, options)`.

The shape is upstream's (`pkg/virt-launcher/virtwrap/converter`). Deviations, each for a reason:
the translation cache of an emulated guest is bounded; an emulated guest gets the CPU model that emulation can give;
MAC addresses are chosen here from the VMI's uid, so that a guest keeps its address when it is defined again.
"""

from __future__ import annotations

from kumo.kubevirt.virt_launcher.domain.convert import domain_name, domain_xml

__all__ = ["domain_name", "domain_xml"]
