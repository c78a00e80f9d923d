"""What several folders of component tests share: one etcd cluster for the whole run, made when first asked for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.etcd import EtcdCluster


@pytest.fixture(scope="session")
def _etcd_cluster() -> Iterator[EtcdCluster]:
    cluster = EtcdCluster()
    try:
        yield cluster.start()
    finally:
        cluster.stop()


@pytest.fixture
def etcd(_etcd_cluster: EtcdCluster) -> Iterator[EtcdCluster]:
    """Three members with TLS, all alive; each test uses a prefix of its own (`etcd.fresh()`)."""
    yield _etcd_cluster
    _etcd_cluster.heal()
