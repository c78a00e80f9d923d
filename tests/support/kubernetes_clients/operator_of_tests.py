"""An operator written with kopf: what it makes of its objects shows in their status and in config maps.

    kopf run --namespace NAMESPACE --peering test operator_of_tests.py

The webhook listens on WEBHOOK_PORT with the certificate in WEBHOOK_DIR (tls.crt, tls.key, ca.crt).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import kopf

PLACE = Path(os.environ["WEBHOOK_DIR"])


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    """Keep everything in status, and admission by a webhook that the operator registers itself."""
    settings.persistence.finalizer = "kopf.example/hold"
    settings.peering.stealth = True
    settings.admission.managed = "kopf.example"
    settings.admission.server = kopf.WebhookServer(
        host="127.0.0.1",
        addr="127.0.0.1",
        port=int(os.environ["WEBHOOK_PORT"]),
        certfile=PLACE / "tls.crt",
        pkeyfile=PLACE / "tls.key",
        cafile=PLACE / "ca.crt",
    )


@kopf.index("kopf.example", "v1", "robots")
def names(name: str, spec: Any, **_: Any) -> dict[str, Any]:
    """Robots by size."""
    return {spec.get("size", 0): name}


@kopf.on.validate("kopf.example", "v1", "robots")
def sane(spec: Any, warnings: list[str], **_: Any) -> None:
    """Refuse robots of a negative size."""
    if spec.get("size", 0) < 0:
        raise kopf.AdmissionError("a robot has a size", code=422)
    if spec.get("size", 0) > 100:
        warnings.append("a giant")


@kopf.on.mutate("kopf.example", "v1", "robots", operation="CREATE")
def painted(patch: kopf.Patch, **_: Any) -> None:
    """Robots are grey."""
    patch.setdefault("metadata", {}).setdefault("labels", {})["color"] = "grey"


@kopf.on.create("kopf.example", "v1", "robots")
async def created(body: kopf.Body, name: str, namespace: str, spec: Any, **_: Any) -> dict[str, Any]:
    """Tell what was asked for."""
    return {"size": spec.get("size", 0)}


@kopf.on.update("kopf.example", "v1", "robots", field="spec.size")
async def grown(old: Any, new: Any, **_: Any) -> dict[str, Any]:
    """Tell how it grew."""
    return {"from": old, "to": new}


@kopf.on.delete("kopf.example", "v1", "robots")
async def scrapped(logger: kopf.Logger, **_: Any) -> None:
    """The finalizer holds the object until here."""
    logger.info("scrapped")


@kopf.timer("kopf.example", "v1", "robots", interval=0.2)
async def ticking(patch: kopf.Patch, status: Any, **_: Any) -> None:
    """Count to three."""
    if status.get("ticks", 0) < 3:
        patch.status["ticks"] = status.get("ticks", 0) + 1


@kopf.daemon("kopf.example", "v1", "robots", cancellation_timeout=1.0)
async def living(logger: kopf.Logger, stopped: kopf.DaemonStopped, **_: Any) -> None:
    """Live until it is stopped."""
    logger.info("alive")
    await stopped.wait(600)
    logger.info("stopped")
