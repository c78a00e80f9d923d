"""Servers: VirtualMachines as Nova shows them, makes them and acts on them. `state` and `view` are pure."""
