"""A hollow cluster for the tests of controllers and scheduler: each component as its own user, under real RBAC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from kumo.api.users import AUTHENTICATED_GROUP, UserInfo, service_account_user
from kumo.kubernetes.controller_manager import ControllerManagerConfig, controllers
from kumo.kubernetes.controller_manager.node_lifecycle.health import Grace
from kumo.kubernetes.controller_manager.pod_collector import PodCollectorConfig
from kumo.kubernetes.scheduler import Configuration, Scheduler, SchedulerConfig
from kumo.machinery.client import Client
from kumo.machinery.event_series import SeriesRecorder
from kumo.machinery.informer import Informers
from kumo.machinery.transport import InProcessTransport
from support.apiserver import running_apiserver
from support.hollow import HollowCluster, hollow_cluster

CONFIG = ControllerManagerConfig(
    root_ca="a certificate\n",
    node_grace=Grace(running=1.0, starting=2.0),
    pod_collector=PodCollectorConfig(quarantine=0.2),
    range_grace=0.1,
)


@pytest.fixture
async def empty_cluster(tmp_path: Path) -> AsyncIterator[HollowCluster]:
    """An API server alone; what runs is the test's choice."""
    async with (
        running_apiserver(tmp_path, https=True) as server,
        hollow_cluster(server.client, server.server.handle) as made,
    ):
        made.kubeconfig = server.kubeconfig
        yield made


def start_everything(cluster: HollowCluster) -> list[asyncio.Task[None]]:
    """Start all controllers and the scheduler, as if their process had just come up; the tasks that they are."""

    def as_user(user: UserInfo) -> Client:
        return Client(InProcessTransport(cluster.handler, user))

    def client_for(name: str) -> Client:
        return as_user(service_account_user("kube-system", name))

    manager = Informers(as_user(UserInfo("system:kube-controller-manager", (AUTHENTICATED_GROUP,))))
    scheduling = as_user(UserInfo("system:kube-scheduler", (AUTHENTICATED_GROUP,)))
    informers = Informers(scheduling)
    recorder = SeriesRecorder(scheduling, "default-scheduler")
    backoff = Configuration(initial_backoff=0.05, max_backoff=0.2)
    scheduler = Scheduler(scheduling, informers, recorder, SchedulerConfig(backoff))
    return cluster.start(manager, informers, scheduler, *controllers(client_for, manager, CONFIG))


@pytest.fixture
async def cluster(empty_cluster: HollowCluster) -> HollowCluster:
    """With all controllers and the scheduler."""
    start_everything(empty_cluster)
    return empty_cluster


@pytest.fixture
def start() -> Callable[[HollowCluster], list[asyncio.Task[None]]]:
    """`start_everything`, for tests that kill it."""
    return start_everything
