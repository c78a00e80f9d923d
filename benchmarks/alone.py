"""The API server alone, in a process of its own: what is compared with kube-apiserver, which has no controllers in it.

    python -m benchmarks.alone DIRECTORY PORT

Prints `ready` when it serves, as https://127.0.0.1:PORT with DIRECTORY/admin.kubeconfig; SIGTERM ends it.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from kumo.cli import prepare
from kumo.cli.instance import Instance, choose, node_address, save
from kumo.cli.process import run_until_told
from kumo.cli.report import Reporter
from kumo.cli.rights import rights
from kumo.kubernetes.apiserver.config import ApiServerConfig
from kumo.kubernetes.apiserver.server import ApiServer
from kumo.machinery import kubeconfig, logs
from kumo.machinery.listener import Listener
from kumo.machinery.tls import server_context
from kumo.store.sqlite import SqliteStore


async def serve(instance: Instance, stop: asyncio.Event) -> None:
    """Run the API server of an instance without anything else, until `stop` is set."""
    pki = prepare.certificates(instance)
    config = ApiServerConfig(
        service_account_key=pki.signing_key,
        ca_certificate=pki.ca,
        advertise_address=node_address(),
        port=instance.port,
        default_objects=rights(),
    )
    server = ApiServer(SqliteStore(instance.store_path), config)
    tls = server_context(pki.apiserver, pki.ca)
    listener = Listener(server.handle, host="127.0.0.1", port=instance.port, tls=tls, name="apiserver")
    await server.start()
    await listener.start()
    kubeconfig.write(
        instance.kubeconfig,
        server=instance.url,
        ca=pki.ca.read_bytes(),
        cert=pki.admin.cert.read_bytes(),
        key=pki.admin.key.read_bytes(),
    )
    running = asyncio.create_task(server.run())
    print("ready", flush=True)
    try:
        await stop.wait()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await listener.stop()
        await server.stop()


def main() -> int:
    """Serve until told to stop."""
    logs.set_up(level="warning")
    instance = choose(Path(sys.argv[1]), port=int(sys.argv[2]))
    save(instance)
    prepare.directories(instance)
    return run_until_told(lambda stop: serve(instance, stop), Reporter(instance.notify_socket, "bench"), ())


if __name__ == "__main__":
    sys.exit(main())
