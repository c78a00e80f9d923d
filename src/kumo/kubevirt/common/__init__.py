"""The vocabulary that the KubeVirt components share: names, phases, paths. Constants and pure functions, no I/O.

Every module here is imported by the launcher too, once per virtual machine, and so imports nothing heavy.
"""
