"""The stateful set controller: pods with names, volumes and an order that stay.

Pure: `identity` (ordinals, names, pods), `claims` (volume claims and who owns them), `status`, `decision` (all of them
together: state -> steps). `controller` is the shell.
"""
