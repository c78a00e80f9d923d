from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.openstack import OpenStackCloud, openstack_cloud


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[OpenStackCloud]:
    """A cloud without a node, behind HTTPS."""
    async with openstack_cloud(tmp_path) as found:
        yield found
