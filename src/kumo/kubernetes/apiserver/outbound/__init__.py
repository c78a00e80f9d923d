"""Calls of HTTPS servers that users name: admission webhooks, conversion webhooks, aggregated API servers.

`client_config` says where a webhook is, `connections` finds services through their endpoints and keeps connections,
`posting` asks and reads a bounded answer, `network_errors` tells failures in the words of Go's network libraries.

Talks to: the object cache (`Reader`), the servers outside.
"""
