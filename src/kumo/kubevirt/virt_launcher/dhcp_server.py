"""The DHCP server on the guest's bridge: one thread that sleeps until the guest asks.

It lives in the launcher, not in virt-handler, so that a guest that boots while virt-handler is down gets its address.
"""

from __future__ import annotations

import socket
import threading

from kumo.kubevirt.common.launcher_options import Lease
from kumo.kubevirt.virt_launcher import dhcp
from kumo.kubevirt.virt_launcher.log import say


def start(lease: Lease) -> None:
    """Serve that lease on its bridge until the process ends. Raises OSError when the bridge is not there."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    # Bound to the bridge, so that a broadcast goes there and nothing from the pod's own network is answered.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, lease.bridge.encode() + b"\0")
    listener.bind(("", dhcp.SERVER_PORT))
    threading.Thread(target=_serve, args=(listener, lease), name=f"dhcp {lease.bridge}", daemon=True).start()


def _serve(listener: socket.socket, lease: Lease) -> None:
    while True:
        try:
            packet, _ = listener.recvfrom(2048)
            reply = dhcp.answer(packet, lease)
            if reply is not None:
                listener.sendto(reply, ("255.255.255.255", dhcp.CLIENT_PORT))
                say("answered DHCP", address=lease.address, type=reply[242])
        except OSError as error:
            say("DHCP failed", error=str(error))
