"""The quota controller: `status.hard` and `status.used` of every ResourceQuota follow its spec and its namespace.

`decision` is the next status (pure), `controller` keeps a running tally of each quota from the monitor's events.
"""
