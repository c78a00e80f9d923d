"""Who may: asked of the API server by SubjectAccessReview, for every request but those of discovery."""

from __future__ import annotations

from kumo.api.errors import StatusError, forbidden, unauthorized
from kumo.api.resources import SUBJECTACCESSREVIEWS
from kumo.api.users import UserInfo
from kumo.kubevirt.common.names import SUBRESOURCE_GROUP
from kumo.kubevirt.virt_api.subresources.call import Call
from kumo.machinery.client import Client

_VERBS = {"GET": "get", "PUT": "update", "POST": "create", "PATCH": "patch", "DELETE": "delete"}


async def authorize(client: Client, call: Call) -> None:
    """Return if the caller may. Raises StatusError 401 without a caller, 403 for one who may not."""
    user = call.request.user
    if user is None:
        raise unauthorized("request is not authenticated")
    verb = _VERBS.get(call.request.method, call.request.method.lower())
    attributes = {
        "namespace": call.namespace,
        "verb": verb,
        "group": SUBRESOURCE_GROUP,
        "version": call.version,
        "resource": call.resource,
        "subresource": call.subresource,
        "name": call.name,
    }
    review = {
        "apiVersion": SUBJECTACCESSREVIEWS.api_version,
        "kind": "SubjectAccessReview",
        "spec": {
            "user": user.name,
            "groups": list(user.groups),
            "extra": {k: list(v) for k, v in user.extra.items()},
            "resourceAttributes": {k: v for k, v in attributes.items() if v},
        },
    }
    answer = await client.create(SUBJECTACCESSREVIEWS, review)
    if not (answer.get("status") or {}).get("allowed"):
        raise _refusal(user, verb, call)


def _refusal(user: UserInfo, verb: str, call: Call) -> StatusError:
    resource = f"{call.resource}/{call.subresource}" if call.subresource else call.resource
    why = (
        f'User "{user.name}" cannot {verb} resource "{resource}" in API group "{SUBRESOURCE_GROUP}" '
        f'in the namespace "{call.namespace}"'
    )
    return forbidden(SUBRESOURCE_GROUP, call.resource, call.name, why)
