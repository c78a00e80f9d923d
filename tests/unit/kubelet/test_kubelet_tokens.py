"""When a pod's token is replaced, and what becomes of it while there is no new one to be had."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kumo.api.errors import StatusError
from kumo.api.objects import Object, timestamp
from kumo.kubernetes.kubelet import references
from kumo.kubernetes.kubelet.references import References
from kumo.machinery.client import Client

pytestmark = pytest.mark.unit
POD: Object = {"metadata": {"name": "p", "namespace": "ns", "uid": "1"}, "spec": {}}


class Issuer:
    """An API server that signs, or does not; its tokens are numbered."""

    def __init__(self) -> None:
        self.made = 0
        self.away = False

    async def create(self, _gvr: Any, request: Object, *_: Any, **__: Any) -> Object:
        if self.away:
            raise StatusError(503, "ServiceUnavailable", "away")
        self.made += 1
        ends = references.time.time() + request["spec"]["expirationSeconds"]
        return {"status": {"token": str(self.made), "expirationTimestamp": timestamp(ends)}}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    now = time.time()
    found = SimpleNamespace(after=0.0, time=lambda: now + found.after, monotonic=time.monotonic)
    monkeypatch.setattr(references, "time", found)
    return found


@pytest.mark.parametrize(
    ("life", "after", "token"),
    [(600, 470, "1"), (600, 490, "2"), (86400 * 7, 86000, "1"), (86400 * 7, 86500, "2")],
)
async def test_a_token_is_replaced_when_it_is_due(clock: SimpleNamespace, life: int, after: float, token: str) -> None:
    found = References(cast(Client, Issuer()), "node")
    assert await found.token(POD, "", life) == "1"
    clock.after = after
    assert await found.token(POD, "", life) == token


async def test_a_token_that_is_still_good_does(clock: SimpleNamespace) -> None:
    issuer = Issuer()
    found = References(cast(Client, issuer), "node")
    assert await found.token(POD, "", 600) == "1"
    issuer.away = True
    clock.after = 590
    assert await found.token(POD, "", 600) == "1"
    clock.after = 610
    with pytest.raises(StatusError, match="away"):
        await found.token(POD, "", 600)
    with pytest.raises(StatusError, match="away"):
        await found.token(POD, "another", 600)
    issuer.away = False
    assert await found.token(POD, "", 600) == "2"
