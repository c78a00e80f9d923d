"""Auto-generated token Secrets that nobody has used for a year: marked, and deleted a year after."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterable

from kumo.api.errors import StatusError, is_conflict, is_not_found
from kumo.api.objects import Key, Object, is_deleting, labels_of, name_of, namespace_of, parse_timestamp
from kumo.api.resources import CONFIGMAPS, PODS, SECRETS, SERVICEACCOUNTS
from kumo.kubernetes.controller_manager.account_tokens.secrets import TYPE, belongs_to
from kumo.machinery.client import MERGE_PATCH, Client
from kumo.machinery.controller import Controller
from kumo.machinery.informer import Informers

TRACKING = "kube-apiserver-legacy-service-account-token-tracking"
LAST_USED = "kubernetes.io/legacy-token-last-used"
INVALID_SINCE = "kubernetes.io/legacy-token-invalid-since"
YEAR = 365 * 24 * 3600.0
_DAY = 24 * 3600.0


def decide(secret: Object, since: str, now: float, period: float = YEAR) -> str:
    """What to do with an unused auto-generated token: `keep`, `mark` or `delete`. Use is noted `since`."""
    began = _parse(since)
    if began is None or now < began + _DAY + period or is_deleting(secret):
        return "keep"
    if parse_timestamp(secret["metadata"]["creationTimestamp"]) >= now - period:
        return "keep"
    oldest = _date(now - period)
    used = labels_of(secret).get(LAST_USED)
    if used is not None and (_parse(used) is None or used >= oldest):
        return "keep"
    marked = labels_of(secret).get(INVALID_SINCE) or ""
    if _parse(marked) is None:
        return "mark"
    return "keep" if marked >= oldest else "delete"


def _date(when: float) -> str:
    return datetime.datetime.fromtimestamp(when, datetime.UTC).strftime("%Y-%m-%d")


def _parse(text: str) -> float | None:
    try:
        return datetime.datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=datetime.UTC).timestamp()
    except ValueError:
        return None


class LegacyTokenCleaner:
    """Looks at each token Secret once a day; only those that an account lists in its `secrets` are auto-generated."""

    name = "legacy-service-account-token-cleaner"

    def __init__(self, client: Client, informers: Informers, clock: Callable[[], float] = time.time) -> None:
        self._client = client
        self._clock = clock
        self._secrets = informers.informer(SECRETS, field_selector=f"type={TYPE}")
        self._accounts = informers.informer(SERVICEACCOUNTS)
        self._pods = informers.informer(PODS)
        self._controller = Controller(self.name, self._reconcile, workers=1)
        self._controller.watch(self._secrets)

    async def run(self) -> None:
        """Run until cancelled."""
        await self._controller.run()

    async def _reconcile(self, key: Key) -> float | None:
        secret = self._secrets.get_key(key)
        if secret is None or not self._generated(secret):
            return None
        try:
            tracking = await self._client.get(CONFIGMAPS, TRACKING, "kube-system")
            deed = decide(secret, (tracking.get("data") or {}).get("since") or "", self._clock())
            if deed == "keep" or self._mounted(secret):
                return _DAY
            meta = secret["metadata"]
            if deed == "mark":
                labels = {INVALID_SINCE: _date(self._clock())}
                body: Object = {"metadata": {"uid": meta["uid"], "labels": labels}}
                await self._client.patch(SECRETS, key.name, body, key.namespace, kind=MERGE_PATCH)
            else:
                await self._client.delete(SECRETS, key.name, key.namespace, resource_version=meta["resourceVersion"])
        except StatusError as error:
            if not is_not_found(error) and not is_conflict(error):
                raise
        return _DAY

    def _generated(self, secret: Object) -> bool:
        return any(
            belongs_to(secret, account) and any(r.get("name") == name_of(secret) for r in account.get("secrets") or ())
            for account in self._accounts.objects(namespace_of(secret))
        )

    def _mounted(self, secret: Object) -> bool:
        return any(name_of(secret) in _secrets_of(pod) for pod in self._pods.objects(namespace_of(secret)))


def _secrets_of(pod: Object) -> Iterable[str]:
    spec = pod.get("spec") or {}
    for volume in spec.get("volumes") or ():
        yield (volume.get("secret") or {}).get("secretName") or ""
        for source in (volume.get("projected") or {}).get("sources") or ():
            yield (source.get("secret") or {}).get("name") or ""
    for field in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.get(field) or ():
            for variable in container.get("env") or ():
                yield ((variable.get("valueFrom") or {}).get("secretKeyRef") or {}).get("name") or ""
            for source in container.get("envFrom") or ():
                yield (source.get("secretRef") or {}).get("name") or ""
    for reference in spec.get("imagePullSecrets") or ():
        yield reference.get("name") or ""
