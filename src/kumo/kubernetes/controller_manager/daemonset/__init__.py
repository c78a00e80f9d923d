"""The daemon set controller: one pod on every node that it may run on.

Pure: `placement` (nodes, tolerations, pods), `decision` (which pods come and go, which are replaced), `status`.
`backoff` slows down failing pods; `controller` is the shell.
"""
