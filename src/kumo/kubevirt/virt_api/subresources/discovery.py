"""What the group says of itself: its resources, its version, its health."""

from __future__ import annotations

import platform
from typing import Any

import msgspec

from kumo.kubevirt.common.names import GIT_VERSION, SUBRESOURCE_GROUP, SUBRESOURCE_VERSIONS
from kumo.kubevirt.virt_api.subresources.call import Call
from kumo.machinery.http import Response

_LISTED = (
    "expand-vm-spec",
    *(
        f"virtualmachineinstances/{name}"
        for name in (
            "vnc", "vnc/screenshot", "console", "portforward", "backup", "redefine-checkpoint", "pause", "unpause",
            "freeze", "unfreeze", "reset", "softreboot",
        )
    ),
    *(
        f"virtualmachines/{name}"
        for name in ("start", "stop", "restart", "migrate", "expand-spec", "objectgraph", "evacuate/cancel")
    ),
    *(
        f"virtualmachineinstances/{name}"
        for name in (
            "guestosinfo", "userlist", "filesystemlist", "addvolume", "removevolume", "objectgraph",
            "sev/fetchcertchain", "sev/querylaunchmeasurement", "sev/setupsession", "sev/injectlaunchsecret",
            "evacuate/cancel", "usbredir", "vsock",
        )
    ),
    *(
        f"virtualmachines/{name}"
        for name in ("addvolume", "removevolume", "memorydump", "removememorydump", "portforward")
    ),
)  # fmt: skip
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


def resources() -> list[dict[str, Any]]:
    """The `APIResource` entries of each version."""
    return [{"name": name, "singularName": "", "namespaced": True, "kind": "", "verbs": []} for name in _LISTED]


def resource_list(version: str) -> Response:
    """The `APIResourceList` of one version."""
    body = {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{SUBRESOURCE_GROUP}/{version}",
        "resources": resources(),
    }
    return Response(200, msgspec.json.encode(body))


def api_group() -> Response:
    """The `APIGroup`."""
    versions = [{"groupVersion": f"{SUBRESOURCE_GROUP}/{v}", "version": v} for v in SUBRESOURCE_VERSIONS]
    body = {
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": SUBRESOURCE_GROUP,
        "versions": versions,
        "preferredVersion": versions[0],
    }
    return Response(200, msgspec.json.encode(body))


async def version(call: Call) -> Response:
    """Which KubeVirt is presented, as `virtctl version` reads it."""
    body = {
        "gitVersion": GIT_VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "",
        "goVersion": "",
        "compiler": "",
        "platform": f"linux/{_MACHINES.get(platform.machine(), platform.machine())}",
    }
    return Response(200, msgspec.json.encode(body))


async def health(call: Call) -> Response:
    """Whether virt-api can reach the API server: it must, to say so."""
    found = await call.services.client.request("GET", "/version")
    minor = f"{found.get('major', '')}.{found.get('minor', '')}"
    body = {"apiserver": {"connectivity": "ok", "version": minor}, "config-resource-version": ""}
    return Response(200, msgspec.json.encode(body))


async def guestfs(call: Call) -> Response:
    """The image for `virtctl guestfs`: upstream's, of the presented release."""
    body = {"registry": "quay.io/kubevirt", "tag": GIT_VERSION, "imagePrefix": "", "gsImage": ""}
    return Response(200, msgspec.json.encode(body))
