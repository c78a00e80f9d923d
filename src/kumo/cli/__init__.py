"""The kumo command, and the composition: which components run in which process.

`main` is the command line; `up` prepares an instance and becomes its `supervisor`, which runs the processes of the
plan: `control_plane`, `node` and containerd. Nothing imports this room.
"""
