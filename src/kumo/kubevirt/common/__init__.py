"""What the KubeVirt components share: names, phases, paths, settings, instance types. Constants and pure functions.

`names`, `launcher_contract`, `specs` are small enough for the launcher, which pays for every import once per virtual
machine. `live_config` alone does I/O: it follows the KubeVirt object for virt-api and virt-controller.
"""
