"""The cluster's settings as they are now: follows the KubeVirt object, keeps the last settings that made sense."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from kumo.api.objects import Object
from kumo.api.resources import KUBEVIRTS
from kumo.kubevirt.common.config import ClusterConfig
from kumo.kubevirt.common.names import INSTALL_NAMESPACE
from kumo.machinery.informer import Informer, Informers

_log = structlog.get_logger("kumo.kubevirt.config")


class LiveConfig:
    """Calling it gives the current `ClusterConfig`; `on_change` tells when it has changed."""

    def __init__(self, informers: Informers) -> None:
        self.informer: Informer = informers.informer(KUBEVIRTS, namespace=INSTALL_NAMESPACE)
        self._current = ClusterConfig()
        self._listeners: list[Callable[[], None]] = []
        self.informer.on_change(self._changed)

    def __call__(self) -> ClusterConfig:
        """The settings now."""
        return self._current

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every change of the settings."""
        self._listeners.append(listener)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        try:
            settings = ClusterConfig.from_kubevirt(new)
        except (ValueError, TypeError, AttributeError) as error:
            _log.warning("settings not understood, keeping the last good ones", error=str(error))
            return
        if settings != self._current:
            self._current = settings
            for listener in self._listeners:
                listener()
