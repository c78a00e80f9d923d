"""The wire's server side: a `Handler` behind a TLS, TCP or unix socket.

Talks to: `kumo.machinery.http` (the values it carries), aiohttp's low-level server (the only user of it in the
project, so that the hot path can be replaced here alone). Knows nothing of paths, users' rights or objects: it proves
who holds a client certificate and carries bytes, with back-pressure both ways.
"""

from kumo.machinery.listener.identity import user_of_certificate
from kumo.machinery.listener.limits import Limits
from kumo.machinery.listener.server import Listener, ListenError

__all__ = ["Limits", "ListenError", "Listener", "user_of_certificate"]
