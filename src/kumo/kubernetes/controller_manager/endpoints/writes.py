"""The writes of EndpointSlices that a look at a service, or at Endpoints, has led to."""

from __future__ import annotations

from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Key, name_of, uid_of
from kumo.api.resources import ENDPOINTSLICES
from kumo.kubernetes.controller_manager.endpoints.slices import Changes
from kumo.kubernetes.controller_manager.expectations import Expectations
from kumo.kubernetes.controller_manager.refusals import is_namespace_ending
from kumo.machinery.client import Client


async def write_slices(client: Client, expectations: Expectations, key: Key, made: Changes) -> None:
    """Create, update and delete slices; creations are expected under `key` until they are seen.

    Raises StatusError, but not for slices that are gone already, nor when their namespace is ending.
    """
    for new in made.create:
        expectations.expect_creations(key, 1)
        try:
            await client.create(ENDPOINTSLICES, new)
        except BaseException as error:
            expectations.created(key)
            if is_namespace_ending(error):
                return
            raise
    for changed in made.update:
        await client.update(ENDPOINTSLICES, changed)
    for old in made.delete:
        try:
            await client.delete(ENDPOINTSLICES, name_of(old), key.namespace, uid=uid_of(old))
        except StatusError as error:
            if not is_not_found(error):
                raise
