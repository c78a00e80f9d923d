"""Auditing: who asked for what, and what he got, as events of `audit.k8s.io/v1`, chosen by a policy file.

Talks to: the server's operation (`Visit`), a log file or a webhook. Costs nothing when there is no policy: then only
`config` is imported.
"""
