"""PID 1 of a virtual machine's pod: runs libvirtd and QEMU, and does what virt-handler asks.

It starts libvirtd in session mode as an unprivileged user, turns a VMI into a libvirt domain, answers
DHCP on the guest's bridge, and serves virt-handler on the unix socket `/var/run/kubevirt/sockets/launcher-sock`.
It talks to nobody else: what needs privilege or the API server is virt-handler's work. virt-handler may come and go;
the machine runs on, and the next virt-handler is told the state again.

Every virtual machine pays for this process, so it uses the standard library and libvirt only, and little of the former
(no asyncio, no logging, no argparse, no XML parser): threads that sleep in system calls instead.
"""
