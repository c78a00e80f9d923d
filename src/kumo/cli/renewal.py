"""A joined node's certificates: asked for by signing requests, and anew long before they end.

As upstream's kubelet: at a random moment between 70 and 90 % of a certificate's life; a fresh key each time.
"""

from __future__ import annotations

import asyncio
import datetime
import random
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kumo.api.errors import StatusError
from kumo.cli.instance import Instance
from kumo.machinery import enrolment
from kumo.machinery.client import Client
from kumo.machinery.files import write_file
from kumo.machinery.transport import HttpTransport

_RETRY_FIRST, _RETRY_LONGEST = 1.0, 300.0
_LONGEST_SLEEP = 3600.0
"""A machine that was suspended must not miss the moment by as much as it slept."""
_log = structlog.get_logger("kumo.certificates")


def due(begin: float, end: float, share: float) -> float:
    """When a certificate that is valid from `begin` to `end` is renewed: after `share` of its life (epoch seconds)."""
    return begin + (end - begin) * share


def validity(pem: Path) -> tuple[float, float] | None:
    """When the certificate in the file begins and ends (epoch seconds); None for a provisional one, or none."""
    try:
        cert = x509.load_pem_x509_certificate(pem.read_bytes())
    except (OSError, ValueError):
        return None
    if cert.issuer == cert.subject:
        return None
    return cert.not_valid_before_utc.timestamp(), cert.not_valid_after_utc.timestamp()


def provisional(path: Path, node: str) -> None:
    """A certificate that proves nothing, for the moments until the cluster has signed the right one."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{node}@{int(time.time())}")])
    now = datetime.datetime.now(datetime.UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write_file(path, cert.public_bytes(serialization.Encoding.PEM) + pem)


class Renewal:
    """The two components that keep a joined node's certificates: `client` and `server`."""

    def __init__(
        self, instance: Instance, client: Client, context: ssl.SSLContext, transports: Sequence[HttpTransport]
    ) -> None:
        self._instance = instance
        self._api = client
        self._context = context
        self._transports = transports
        directory = instance.pki_dir
        self.client = Kept("kubelet-client-certificate", directory / "kubelet-client.pem", self._new_client)
        self.server = Kept("kubelet-serving-certificate", directory / "kubelet-server.pem", self._new_server)

    async def _new_client(self, path: Path) -> None:
        wanted = enrolment.node_request(self._instance.node_name)
        cert = await enrolment.enrol(self._api, wanted)
        write_file(path, cert + wanted.key)
        self._context.load_cert_chain(path)
        for transport in self._transports:  # What is open still shows the old one.
            transport.renew()

    async def _new_server(self, path: Path) -> None:
        name, address = self._instance.node_name, self._instance.address
        wanted = enrolment.new_request(f"system:node:{name}", ("system:nodes",), dns_names=[name], addresses=[address])
        cert = await enrolment.enrol(
            self._api, wanted, signer=enrolment.KUBELET_SERVING, usages=enrolment.SERVER_USAGES, timeout=120.0
        )
        write_file(path, cert + wanted.key)


class Kept:
    """One certificate (and its key, in `path`), made by `renew` when there is none and when it nears its end."""

    def __init__(self, name: str, path: Path, renew: Callable[[Path], Awaitable[None]]) -> None:
        self.name = name
        self._path = path
        self._renew = renew
        self.valid = asyncio.Event()
        """Set once there is a certificate of the cluster."""

    async def run(self) -> None:
        """Keep it until cancelled."""
        share, delay = random.uniform(0.7, 0.9), _RETRY_FIRST
        while True:
            found = validity(self._path)
            if found is not None:
                self.valid.set()
                left = due(*found, share) - time.time()
                if left > 0:
                    await asyncio.sleep(min(left, _LONGEST_SLEEP))
                    continue
            try:
                await self._renew(self._path)
                self.valid.set()
                _log.info("the cluster has signed a certificate", file=self._path.name)
                share, delay = random.uniform(0.7, 0.9), _RETRY_FIRST
                await asyncio.sleep(_RETRY_FIRST)  # One that is over as soon as it is made must not keep us busy.
            except (enrolment.EnrolmentError, StatusError, ConnectionError, OSError, TimeoutError) as error:
                _log.warning("no certificate yet", file=self._path.name, error=str(error), again_in=delay)
                await asyncio.sleep(delay)
                delay = min(delay * 2, _RETRY_LONGEST)
