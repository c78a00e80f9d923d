"""Config maps about identity: how aggregated API servers know callers, and since when token use is noted. Pure."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable

from kumo.api.objects import Object
from kumo.kubernetes.apiserver.authentication.front_proxy import FrontProxyConfig
from kumo.kubernetes.apiserver.authentication.legacy_use import today

AUTHENTICATION = "extension-apiserver-authentication"
TRACKING = "kube-apiserver-legacy-service-account-token-tracking"


def identity_objects(client_ca: str, proxy: FrontProxyConfig | None) -> list[Object]:
    """The config maps of kube-system. `client_ca` is PEM text, empty without client certificates."""
    made = [_config_map(TRACKING, {"since": today(time.time())})]
    data = {"client-ca-file": client_ca} if client_ca else {}
    if proxy is not None:
        data["requestheader-allowed-names"] = _listed(proxy.allowed_names)
        data["requestheader-client-ca-file"] = proxy.ca.read_text()
        data["requestheader-extra-headers-prefix"] = _listed(proxy.extra_prefixes)
        data["requestheader-group-headers"] = _listed(proxy.group_headers)
        data["requestheader-uid-headers"] = _listed(proxy.uid_headers)
        data["requestheader-username-headers"] = _listed(proxy.username_headers)
    if data:
        made.append(_config_map(AUTHENTICATION, data))
    return made


def _listed(names: Iterable[str]) -> str:
    return json.dumps(list(names))


def _config_map(name: str, data: dict[str, str]) -> Object:
    meta = {"name": name, "namespace": "kube-system"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}
