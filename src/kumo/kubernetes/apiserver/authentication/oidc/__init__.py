"""Users of other identity providers: OpenID Connect tokens, verified with the keys that their issuers publish.

`settings` says what a provider is told by (flags), `configuration` reads it from a file, `provider` verifies tokens.

Talks to: each issuer's discovery document and key set, over HTTPS.
"""
