"""haproxy's configuration and maps as text. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import quote

from kumo.kubernetes.ingress.backends import Backend, Server
from kumo.kubernetes.ingress.config import IngressConfig
from kumo.kubernetes.ingress.routes import ANY, Rule, Target

CONFIGURATION, EXACT, PREFIXES, CERTIFICATES = "haproxy.cfg", "exact.map", "prefixes.map", "certificates.list"
"""The files, by name."""
DEFAULT_CERTIFICATE = "default.pem"
_PLAIN = "/:@!$&'()*+,;=~%-._"
_NO_HOST = "-"
_SPOKEN = {"http": "", "https": " ssl verify none", "h2c": " proto h2", "h2": " ssl verify none alpn h2"}
_SECURE = "|secure"
"""What stands behind the name of a backend in the maps, where HTTP is sent to HTTPS."""

_HEAD = """\
# Written by kumo at each change of an Ingress.
global
    stats socket {directory}/worker.sock mode 600 level admin expose-fd listeners
    user nobody
    group nogroup
    nbthread 2
    no strict-limits
    hard-stop-after 5m
    ssl-default-bind-options ssl-min-ver TLSv1.2
    tune.ssl.default-dh-param 2048

defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 5m
    timeout tunnel 1h
    timeout http-request 30s
    timeout http-keep-alive 60s
    timeout queue 10s
    # Who can't be reached was just stopped, most likely: each further attempt goes to another.
    option redispatch 1
    # A worker that ends answers on the connections that clients keep, instead of closing them under a request.
    option idle-close-on-response
    retries 5
    retry-on conn-failure empty-response

frontend web
{binds}
    option forwardfor
    http-request set-header X-Forwarded-Proto http unless {{ ssl_fc }}
    http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}
    http-request set-header X-Forwarded-Host %[req.hdr(Host)]
    http-request set-header X-Real-IP %[src]
    # What may have been done already is not done again.
    http-request disable-l7-retry unless {{ method GET HEAD OPTIONS PUT DELETE TRACE }}
    http-request set-var(txn.path) path
    http-request set-var(txn.host) req.hdr(Host),regsub(:[0-9]+$,),lower
    http-request set-var(txn.wild) var(txn.host),regsub(^[^.]*,*)
    http-request set-var(txn.any) str({any})
"""
_LOOK = """\
    http-request set-var(txn.way) var(txn.{host}),concat(|,txn.path),map_str({directory}/{exact}){unless}
    http-request set-var(txn.way) var(txn.{host}),concat(|,txn.path,/),map_beg({directory}/{prefixes}) {found}
"""
_FOUND = "unless { var(txn.way) -m found }"
_TAIL = """\
    acl secure var(txn.way) -m end {secure}
    http-request redirect code 308 location https://%[var(txn.host)]%[pathq] if secure !{{ ssl_fc }}
    use_backend %[var(txn.way),field(1,|)] if {{ var(txn.way) -m found }}
    default_backend none

backend none
    http-request return status 404 content-type text/plain string "no Ingress leads this host and path anywhere\\n"
"""


def files(config: IngressConfig, rules: Iterable[Rule], backends: Mapping[Target, Backend]) -> dict[str, str]:
    """The configuration and the maps, by file name."""
    exact, prefixes = maps(rules)
    directory = str(config.directory)
    text = _HEAD.format(
        directory=directory,
        binds="\n".join(line for address in config.addresses for line in _binds(config, address)),
        any=_NO_HOST,
    )
    for number, host in enumerate(("host", "wild", "any")):
        unless = f" {_FOUND}" if number else ""
        text += _LOOK.format(
            host=host, directory=directory, exact=EXACT, prefixes=PREFIXES, unless=unless, found=_FOUND
        )
    text += _TAIL.format(secure=_SECURE)
    text += "".join(_backend(target, backend) for target, backend in sorted(backends.items()))
    return {CONFIGURATION: text, EXACT: exact, PREFIXES: prefixes}


def maps(rules: Iterable[Rule]) -> tuple[str, str]:
    """The map of exact paths, and of those below which everything is led: `host|path` to the backend's name.

    haproxy takes the longest entry that a request begins with; so that `/a` is not taken for the beginning of `/ab`,
    entries end with a slash, and so does what is looked up.
    """
    exact, prefixes = [], []
    for rule in rules:
        host = _NO_HOST if rule.host == ANY else rule.host
        path, way = quote(rule.path, safe=_PLAIN), rule.target.title + (_SECURE if rule.secure else "")
        if rule.exact:
            exact.append(f"{host}|{path} {way}\n")
        else:
            prefixes.append(f"{host}|{path.rstrip('/')}/ {way}\n")
    return "".join(sorted(exact)), "".join(sorted(prefixes))


def _binds(config: IngressConfig, address: str) -> tuple[str, str]:
    where, only = _bracketed(address), " v6only" if ":" in address else ""
    secure = f"ssl crt-list {config.directory}/{CERTIFICATES} alpn h2,http/1.1"
    return f"    bind {where}:{config.http_port}{only}", f"    bind {where}:{config.https_port}{only} {secure}"


def _backend(target: Target, backend: Backend) -> str:
    lines = [f"\nbackend {target.title}", "    balance roundrobin"]
    speech = _SPOKEN[backend.protocol]
    if backend.host and "ssl" in speech:
        speech += f" sni str({backend.host})"
    lines += [f"    server s{i} {_server(s)}{speech}{_state(s)}" for i, s in enumerate(backend.slots)]
    return "\n".join(lines) + "\n"


def _server(server: Server | None) -> str:
    return "127.0.0.1:9" if server is None else f"{_bracketed(server.address)}:{server.port}"


def _state(server: Server | None) -> str:
    # A draining server of a new worker has no connections to finish.
    return " disabled" if server is None or server.draining else ""


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
