"""Acting as somebody else: the `Impersonate-*` headers, each of which must be allowed by RBAC (verb `impersonate`)."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import unquote

from kumo.api.errors import bad_request
from kumo.api.users import ANONYMOUS, AUTHENTICATED_GROUP, UNAUTHENTICATED_GROUP, UserInfo, service_account_user
from kumo.kubernetes.apiserver.attributes import RequestInfo
from kumo.machinery.http import Request

_EXTRA = "impersonate-extra-"
_ACCOUNT = "system:serviceaccount:"
Check = Callable[[UserInfo, RequestInfo], None]
"""Raises a Forbidden StatusError unless the user may (`Authorizer.check`)."""


def impersonate(user: UserInfo, request: Request, check: Check) -> UserInfo:
    """The user that the request wants to be, or `user` without such headers.

    Raises 403 for what `user` may not impersonate and 400 for groups, uid or extra values without a user name.
    Repeated `Impersonate-Group` headers arrive joined by commas; each group is checked on its own.
    """
    headers = request.headers
    name = headers.get("impersonate-user", "")
    groups = [g.strip() for g in headers.get("impersonate-group", "").split(",") if g.strip()]
    uid = headers.get("impersonate-uid", "")
    extra = {
        unquote(key.removeprefix(_EXTRA)): tuple(v.strip() for v in value.split(","))
        for key, value in headers.items()
        if key.startswith(_EXTRA)
    }
    if not name:
        if groups or uid or extra:
            raise bad_request(
                "requested groups, uid or extra values of an impersonated user without impersonating a user"
            )
        return user
    account = name.removeprefix(_ACCOUNT).split(":") if name.startswith(_ACCOUNT) else []
    if len(account) == 2:
        check(user, _asked("serviceaccounts", account[1], namespace=account[0]))
    else:
        check(user, _asked("users", name))
    for group in groups:
        if group != AUTHENTICATED_GROUP:
            check(user, _asked("groups", group))
    if len(account) == 2 and not groups:
        # An account's groups follow from its name: they come with it, without a right of their own.
        groups = list(service_account_user(*account).groups)
    if uid:
        check(user, _asked("uids", uid, group="authentication.k8s.io"))
    for key, values in extra.items():
        for value in values:
            check(user, _asked("userextras", value, group="authentication.k8s.io", subresource=key))
    standing = UNAUTHENTICATED_GROUP if name == ANONYMOUS else AUTHENTICATED_GROUP
    if standing not in groups:
        groups.append(standing)
    return UserInfo(name, tuple(groups), uid, extra)


def _asked(resource: str, name: str, *, group: str = "", namespace: str = "", subresource: str = "") -> RequestInfo:
    return RequestInfo(
        verb="impersonate",
        path="",
        group=group,
        version="v1",
        namespace=namespace,
        resource=resource,
        subresource=subresource,
        name=name,
    )
