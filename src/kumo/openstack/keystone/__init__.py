"""Keystone: identity, API v3. Users and domains are objects, projects are namespaces, role assignments are
RoleBindings, tokens are signed and never stored. Talks to: the API server, with a client that may do everything, since
what users may do here is Keystone's own policy. The other services meet it in `Authenticate` alone, which the
composition hands in.
"""
