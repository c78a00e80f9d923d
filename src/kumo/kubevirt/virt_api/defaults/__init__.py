"""What virt-api fills in when a VirtualMachine or a VirtualMachineInstance is written. Pure functions.

`machine` for the VM's template, `instance` for the instance itself; `architecture`, `features` and `hotplug` are parts
of the latter. Source: `pkg/defaults` and the mutating webhooks; the golden files are from the real ones.
"""
