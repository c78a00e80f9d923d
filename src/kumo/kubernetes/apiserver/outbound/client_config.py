"""Where a webhook is: the `clientConfig` of webhook configurations and of conversion webhooks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Service:
    """A webhook behind a service; it proves itself as `{name}.{namespace}.svc`."""

    namespace: str
    name: str
    path: str
    port: int

    @property
    def host(self) -> str:
        """The name in its certificate."""
        return f"{self.name}.{self.namespace}.svc"


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """Where a webhook is: a URL or a service. `ca_bundle` is base64 of PEM, empty for the system's authorities."""

    url: str = ""
    service: Service | None = None
    ca_bundle: str = ""

    @property
    def address(self) -> str:
        """The URL to post to, without query."""
        if self.service is None:
            return self.url
        path = self.service.path or "/"
        return f"https://{self.service.host}:{self.service.port}{path if path.startswith('/') else '/' + path}"


def read_client(config: Mapping[str, Any]) -> ClientConfig:
    """What a `clientConfig` that was validated says; a bundle of nothing but white space counts as none."""
    service = config.get("service")
    bundle = config.get("caBundle") or ""
    if service is None:
        return ClientConfig(config.get("url") or "", None, bundle)
    where = Service(service["namespace"], service["name"], service.get("path") or "", int(service.get("port") or 443))
    return ClientConfig("", where, bundle)
