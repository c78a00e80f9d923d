"""The revisioned key-value store: the only place where the cloud's state is kept.

It keeps etcd's contract (`base.Store`): every change has a revision, writes compare and swap on it, reads may ask for
an earlier one, watches start from one, leases delete keys that nobody renews, and compaction forgets old revisions.
`sqlite` is the engine in a file for one API server. Only the API server imports this room; it imports `kumo.api` alone.
"""
