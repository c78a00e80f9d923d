"""Auditing: who asked for what, and what he got, as events of `audit.k8s.io/v1`, chosen by a policy file.

Talks to: the server's operation (`Visit`), a log file or a webhook. Costs nothing when there is no policy: then only
`config` is imported.
"""


class AuditError(Exception):
    """The policy or a backend can't be used; the message names the file and what is wrong with it."""
