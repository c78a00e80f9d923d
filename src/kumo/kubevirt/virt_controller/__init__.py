"""virt-controller: makes VirtualMachines into instances, and these into launcher pods; keeps their status.

Talks to the API server only. `machine` is the VM controller, `instance` the VMI controller, `launcher` renders the pod,
`node` watches for nodes whose virt-handler is silent. Decisions are pure functions; `controller` modules are the shells
around them, and `component` puts them together.
"""
