"""What an Ingress asks for beside its rules: TLS for its hosts, and annotations of this controller's own. No I/O.

ingress.kumo.dev/ssl-redirect       true, false; by default HTTP is sent to HTTPS where the Ingress has TLS
ingress.kumo.dev/backend-protocol   HTTP, HTTPS, H2C (or GRPC), GRPCS; by default what the port's appProtocol says
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from kumo.api.objects import Object, annotations_of

PREFIX = "ingress.kumo.dev/"
SSL_REDIRECT, BACKEND_PROTOCOL = f"{PREFIX}ssl-redirect", f"{PREFIX}backend-protocol"
_T = TypeVar("_T")
_SPEECHES = {"HTTP": "http", "HTTPS": "https", "H2C": "h2c", "GRPC": "h2c", "GRPCS": "h2"}


@dataclass(frozen=True, slots=True)
class Wishes:
    """`hosts` are those with TLS, `everybody` whether all are; `redirect` is None where the annotation says nothing.

    `speech` is what is spoken to the Service, empty if the Ingress does not say it.
    """

    hosts: frozenset[str] = frozenset()
    everybody: bool = False
    redirect: bool | None = None
    speech: str = ""

    def secure(self, host: str) -> bool:
        """Whether HTTP requests for the rule's host are sent to HTTPS."""
        if self.redirect is not None:
            return self.redirect
        wild = "*." + host.partition(".")[2]
        return self.everybody or host in self.hosts or wild in self.hosts


def wishes_of(ingress: Object, amiss: list[str]) -> Wishes:
    """The Ingress's wishes; what can't be understood counts as not said, and goes to `amiss`."""
    listed = [[h.lower() for h in t.get("hosts") or ()] for t in ingress["spec"].get("tls") or ()]
    said = annotations_of(ingress)
    redirect = _one_of({"true": True, "false": False}, said, SSL_REDIRECT, amiss, str.lower)
    speech = _one_of(_SPEECHES, said, BACKEND_PROTOCOL, amiss, str.upper)
    hosts = frozenset(host for hosts in listed for host in hosts)
    return Wishes(hosts, any(not hosts for hosts in listed), redirect, speech or "")


def _one_of(
    known: Mapping[str, _T], said: Mapping[str, str], name: str, amiss: list[str], form: Callable[[str], str]
) -> _T | None:
    text = said.get(name)
    if text is None:
        return None
    found = known.get(form(text.strip()))
    if found is None:
        amiss.append(f'the annotation {name} is "{text[:40]}", not one of {", ".join(known)}')
    return found
