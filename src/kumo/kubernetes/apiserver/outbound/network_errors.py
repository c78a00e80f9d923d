"""Failures of a webhook call in the words of Go's network libraries, which people search for and tools match."""

from __future__ import annotations

import errno
import os
import ssl

import aiohttp

from kumo.kubernetes.apiserver.outbound.connections import Unresolved

_CERTIFICATE = "tls: failed to verify certificate: x509: "
_UNKNOWN_AUTHORITY = frozenset((2, 18, 19, 20, 21, 24))
"""OpenSSL's codes for a chain that ends at no trusted authority."""
_EXPIRED, _NOT_YET, _WRONG_HOST, _WRONG_ADDRESS = 10, 9, 62, 64


def told(error: BaseException, host: str, port: int) -> str:
    """What went wrong, for a webhook at that host and port."""
    if isinstance(error, TimeoutError | aiohttp.ServerTimeoutError):
        return "context deadline exceeded"
    if isinstance(error, Unresolved):
        return str(error)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return _certificate(error.certificate_error, host)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"dial tcp: lookup {host}: no such host"
    if isinstance(error, aiohttp.ClientConnectorSSLError | ssl.SSLError):
        return _tls(error)
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "EOF"
    if isinstance(error, aiohttp.TooManyRedirects):
        return "stopped after 10 redirects"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"dial tcp {_joined(host, port)}: connect: {_errno(error.os_error)}"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "unexpected EOF"
    if isinstance(error, OSError):
        return f"read tcp {_joined(host, port)}: {_errno(error)}"
    return str(error) or type(error).__name__


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _errno(error: OSError) -> str:
    number = error.errno or 0
    if number in (errno.ETIMEDOUT,):
        return "connection timed out"
    return os.strerror(number).lower() if number > 0 else str(error)


def _certificate(error: BaseException, host: str) -> str:
    code = getattr(error, "verify_code", 0)
    if code in _UNKNOWN_AUTHORITY:
        return _CERTIFICATE + "certificate signed by unknown authority"
    if code in (_EXPIRED, _NOT_YET):
        return _CERTIFICATE + "certificate has expired or is not yet valid"
    if code == _WRONG_ADDRESS:
        return _CERTIFICATE + f"cannot validate certificate for {host} because it doesn't contain any IP SANs"
    if code == _WRONG_HOST:
        return _CERTIFICATE + f"certificate is not valid for any names, but wanted to match {host}"
    return f"tls: failed to verify certificate: {getattr(error, 'verify_message', '') or error}"


def _tls(error: BaseException) -> str:
    text = str(error)
    if "WRONG_VERSION_NUMBER" in text or "record layer failure" in text.lower() or "HTTP_REQUEST" in text:
        return "tls: first record does not look like a TLS handshake"
    reason = getattr(error, "reason", "") or text
    return f"remote error: tls: {str(reason).lower().replace('_', ' ')}"
