"""Acting as somebody else: the `Impersonate-*` headers, each of which must be allowed by RBAC.

Two ways lead there, as upstream's: the plain verb `impersonate` on what is impersonated; and the constrained verbs
(KEP-5284) `impersonate:<mode>` on whom, with `impersonate-on:<mode>:<verb>` on what is done as him.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from urllib.parse import unquote

from kumo.api import names
from kumo.api.errors import StatusError, bad_request
from kumo.api.node_components import NODE_NAME as _NODE_NAME
from kumo.api.users import (
    ANONYMOUS,
    AUTHENTICATED_GROUP,
    MASTERS_GROUP,
    UNAUTHENTICATED_GROUP,
    UserInfo,
    service_account_user,
)
from kumo.kubernetes.apiserver.attributes import RequestInfo
from kumo.kubernetes.apiserver.authorization.authorizer import forbidden_error
from kumo.kubernetes.apiserver.authorization.nodes import NODES_GROUP, node_of
from kumo.machinery.http import Request, header_lines

_EXTRA = "impersonate-extra-"
_ACCOUNT = "system:serviceaccount:"
_NODE = "system:node:"
_GROUP = "authentication.k8s.io"
_REMEMBERED = 1024
Check = Callable[[UserInfo, RequestInfo], None]
"""Raises a Forbidden StatusError unless the user may (`Authorizer.check`)."""


def is_impersonating(headers: Mapping[str, str]) -> bool:
    """Whether a request wants to be somebody else."""
    return "impersonate-" in " ".join(headers)


class Impersonation:
    """Decides who a request is by; remembers which way worked for whom, so that it is tried first."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self._worked: dict[str, str] = {}

    def impersonate(self, user: UserInfo, request: Request, info: RequestInfo) -> UserInfo:
        """The user that the request wants to be, or `user` without such headers; they are taken out of the request.

        Raises 403 for what `user` may not impersonate and 400 for groups, uid or extra values without a user name.
        Each `Impersonate-Group` header is one group, whatever is in it, and is checked on its own.
        """
        wanted = _wanted(request.headers)
        if wanted is None:
            return user
        node = node_of(user)
        if NODES_GROUP in user.groups and not node:
            # Its signer signs any name that begins like a node's; what is done for no node would not be narrowed.
            raise forbidden_error(user, _asked("impersonate", "users", wanted.name, ""), "the user is no node")
        modes = _modes(wanted, user)
        first = self._worked.get(user.name)
        if first is not None and first in modes:
            modes = [first, *(m for m in modes if m != first)]
        refusal: StatusError | None = None
        for mode in modes:
            try:
                found = self._try(mode, user, wanted, info)
            except StatusError as error:
                refusal = refusal or error
                continue
            if len(self._worked) > _REMEMBERED:
                self._worked.clear()
            self._worked[user.name] = mode
            request.headers = {k: v for k, v in request.headers.items() if not k.startswith("impersonate-")}
            if node is not None:  # Whoever a node wants to be, he is that on this node and on no other.
                found = replace(found, extra={**found.extra, _NODE_NAME: (node,)})
            return found
        assert refusal is not None
        raise refusal

    def _try(self, mode: str, user: UserInfo, wanted: UserInfo, info: RequestInfo) -> UserInfo:
        if not mode:
            return self._checked("impersonate", "", user, wanted)
        asking = user
        if mode == "associated-node":
            keys = tuple(sorted(user.extra))
            asking = UserInfo(
                user.name, user.groups, user.uid, {"authentication.kubernetes.io/associated-node-keys": keys}
            )
        self._check(asking, replace(info, verb=f"impersonate-on:{mode}:{info.verb}"))
        return self._checked(f"impersonate:{mode}", mode, asking, wanted)

    def _checked(self, verb: str, mode: str, user: UserInfo, wanted: UserInfo) -> UserInfo:
        """The user wanted, once every part of him is allowed; `mode` is empty for plain impersonation."""
        group = _GROUP if mode else ""
        groups = list(wanted.groups)
        account, node = _account(wanted.name), _node(wanted.name)
        if mode and node is not None:
            self._check(user, _asked(verb, "nodes", "*" if mode == "associated-node" else node, group))
            groups = ["system:nodes"]
        elif account is not None:
            self._check(user, _asked(verb, "serviceaccounts", account[1], group, namespace=account[0]))
            # An account's groups follow from its name: they come with it, without a right of their own.
            groups = groups or [g for g in service_account_user(*account).groups if g != AUTHENTICATED_GROUP]
        else:
            self._check(user, _asked(verb, "users", wanted.name, group))
        if wanted.uid:
            self._check(user, _asked(verb, "uids", wanted.uid, _GROUP))
        for name in wanted.groups:
            asked = _asked(verb, "groups", name, group)
            if mode and name == MASTERS_GROUP:
                raise forbidden_error(user, asked, "impersonating the system:masters group is not allowed")
            self._check(user, asked)
        for key, values in wanted.extra.items():
            for value in values:
                asked = _asked(verb, "userextras", value, _GROUP, subresource=key)
                if mode and (complaint := _extra_fault(key, value)):
                    raise forbidden_error(user, replace(asked, subresource="", name=""), complaint)
                self._check(user, asked)
        standing = UNAUTHENTICATED_GROUP if wanted.name == ANONYMOUS else AUTHENTICATED_GROUP
        if standing not in groups and UNAUTHENTICATED_GROUP not in groups:
            groups.append(standing)
        return UserInfo(wanted.name, tuple(groups), wanted.uid, wanted.extra)


def _wanted(headers: Mapping[str, str]) -> UserInfo | None:
    """Who the headers name, None if nobody. Raises 400."""
    name = headers.get("impersonate-user", "")
    groups = header_lines(headers.get("impersonate-group"))
    uid = headers.get("impersonate-uid", "")
    extra = {
        unquote(key.removeprefix(_EXTRA)): header_lines(value)
        for key, value in headers.items()
        if key.startswith(_EXTRA)
    }
    if name:
        return UserInfo(name, groups, uid, extra)
    if groups or uid or extra:
        told = ", ".join(f"{k}={v!r}" for k, v in (("groups", list(groups)), ("uid", uid), ("extra", extra)) if v)
        raise bad_request(f"requested {told} without impersonating a user name")
    return None


def _modes(wanted: UserInfo, user: UserInfo) -> list[str]:
    """The ways to try, the narrowest first; the empty one is plain impersonation."""
    alone = not (wanted.groups or wanted.uid or wanted.extra)
    node = _node(wanted.name)
    found: list[str] = []
    if node is not None:
        if alone:
            if _account(user.name) is not None and user.extra.get(_NODE_NAME) == (node,):
                found.append("associated-node")
            found.append("arbitrary-node")
    elif _account(wanted.name) is not None:
        if alone:
            found.append("serviceaccount")
    else:
        found.append("user-info")
    return [*found, ""]


def _account(name: str) -> tuple[str, str] | None:
    """Namespace and name of the service account that a user name stands for."""
    if not name.startswith(_ACCOUNT):
        return None
    parts = name.removeprefix(_ACCOUNT).split(":")
    if len(parts) != 2 or names.check_label(parts[0]) or names.check_subdomain(parts[1]):
        return None
    return parts[0], parts[1]


def _node(name: str) -> str | None:
    node = name.removeprefix(_NODE)
    return node if node != name and not names.check_subdomain(node) else None


def _extra_fault(key: str, value: str) -> str:
    domain, slash, path = key.partition("/")
    if not key:
        return "impersonating the empty string key in extra is not allowed"
    if not slash or not path or names.check_subdomain(domain):
        return (
            "impersonating an invalid key in extra is not allowed: extra.key: Invalid value: "
            f'"{key}": must be a domain-prefixed path (such as "acme.io/foo")'
        )
    return "" if value else "impersonating the empty string value in extra is not allowed"


def _asked(
    verb: str, resource: str, name: str, group: str, *, namespace: str = "", subresource: str = ""
) -> RequestInfo:
    return RequestInfo(
        verb=verb,
        path="",
        group=group,
        version="v1",
        namespace=namespace,
        resource=resource,
        subresource=subresource,
        name=name,
    )
