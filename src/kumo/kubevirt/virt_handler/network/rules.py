"""The nftables rules of the masquerade binding, in the pod's namespace, as text in nft's language. Pure.

As upstream's (`pkg/network/setup/masquerade`): what comes for the pod goes to the guest, what the guest sends leaves
with the pod's address, and the pod's own localhost reaches the guest's ports.
"""

from __future__ import annotations

from kumo.kubevirt.virt_handler.network.plan import POD_INTERFACE, Binding

FAMILY = "ip"
TABLE = "nat"


def masquerade_rules(binding: Binding) -> str:
    """The whole table; in one transaction it replaces an older one."""
    guest, gateway = binding.guest_address, binding.bridge_address
    if binding.ports:
        inbound = [f"{p.protocol} dport {{ {p.port} }} counter dnat to {guest}" for p in binding.ports]
        local = [
            f"ip daddr {{ 127.0.0.1 }} {p.protocol} dport {{ {p.port} }} counter dnat to {guest}" for p in binding.ports
        ]
    else:
        inbound = [f"counter dnat to {guest}"]
        local = [f"ip daddr {{ 127.0.0.1 }} counter dnat to {guest}"]
    chains = {
        "prerouting": [
            "type nat hook prerouting priority -100;",
            f'iifname "{POD_INTERFACE}" counter jump KUBEVIRT_PREINBOUND',
        ],
        "input": ["type nat hook input priority 100;"],
        "output": ["type nat hook output priority -100;", *local],
        "postrouting": [
            "type nat hook postrouting priority 100;",
            f"ip saddr {guest} counter masquerade",
            f'oifname "{binding.bridge}" counter jump KUBEVIRT_POSTINBOUND',
        ],
        "KUBEVIRT_PREINBOUND": inbound,
        "KUBEVIRT_POSTINBOUND": [f"ip saddr {{ 127.0.0.1 }} counter snat to {gateway}"],
    }
    # A chain must be there before a rule may jump to it, so the two that are jumped to come first.
    order = sorted(chains, key=lambda name: not name.startswith("KUBEVIRT"))
    body = "".join(f"  chain {name} {{\n    " + "\n    ".join(chains[name]) + "\n  }\n" for name in order)
    return f"add table {FAMILY} {TABLE}\ndelete table {FAMILY} {TABLE}\ntable {FAMILY} {TABLE} {{\n{body}}}\n"
