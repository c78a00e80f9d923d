"""The VM controller: keeps a VirtualMachine's instance as its run strategy wants it, and tells how things stand.

`strategy` decides, `instance` makes the instance, `status` and `printable` tell, `restart` says what needs a restart,
`revisions` remember what an instance was started from; `controller` is the shell.
"""
