"""Tokens as API objects: TokenRequest, TokenReview, and the discovery documents that let others verify them.

Group authentication.k8s.io/v1; OpenID Connect Discovery 1.0 for `/.well-known/openid-configuration` and
`/openid/v1/jwks`.
"""

from __future__ import annotations

from collections.abc import Iterator

from kumo.api import fields
from kumo.api.errors import Cause, bad_request, conflict, invalid, not_found
from kumo.api.objects import Object, timestamp, uid_of
from kumo.api.resources import NODES, PODS, SECRETS, SERVICEACCOUNTS
from kumo.api.users import UserInfo
from kumo.kubernetes.apiserver.attributes import Reader
from kumo.kubernetes.apiserver.authentication import Authenticator, ServiceAccountTokens, TokenRejected

_SHORTEST = 600
_LONGEST = 1 << 32
_KINDS = {("v1", "Pod"): ("pod", PODS), ("v1", "Secret"): ("secret", SECRETS), ("v1", "Node"): ("node", NODES)}


class TokenEndpoints:
    """What the API server answers about tokens. Methods take and give decoded objects; refusals are StatusErrors."""

    def __init__(
        self, tokens: ServiceAccountTokens, authenticator: Authenticator, reader: Reader, server_url: str = ""
    ) -> None:
        self._tokens = tokens
        self._authenticator = authenticator
        self._reader = reader
        self._url = server_url

    def request(self, namespace: str, name: str, body: Object, *, dry_run: bool = False) -> Object:
        """POST `serviceaccounts/{name}/token`: the TokenRequest with `status.token` and `status.expirationTimestamp`.

        Raises 404 for a missing account or bound object, 409 when a uid differs, 422 for a lifetime under ten minutes,
        400 for a pod of another account.
        """
        stated = body.get("metadata") or {}
        causes = [
            fields.invalid(f"metadata.{field}", stated[field], f"must match the service account {field} if specified")
            for field, own in (("name", name), ("namespace", namespace))
            if stated.get(field) not in (None, "", own)
        ]
        if causes:
            raise invalid("authentication.k8s.io", "TokenRequest", name, causes)
        account = self._reader.get(SERVICEACCOUNTS, name, namespace)
        if account is None:
            raise not_found("", "serviceaccounts", name)
        uid = stated.get("uid") or uid_of(account)
        if uid != uid_of(account):
            why = f"the UID in the token request ({uid}) does not match the UID of the service account "
            raise conflict("authentication.k8s.io", "TokenRequest", name, f"{why}({uid_of(account)})")
        spec = dict(body.get("spec") or {})
        spec["audiences"] = list(spec.get("audiences") or self._tokens.audiences)
        seconds = spec.get("expirationSeconds")
        seconds = spec["expirationSeconds"] = 3600 if seconds is None else seconds
        if not isinstance(seconds, int):
            raise bad_request("spec.expirationSeconds must be an integer")
        causes += _lifetime_causes(seconds)
        if causes:
            raise invalid("authentication.k8s.io", "TokenRequest", "", causes)
        spec.setdefault("boundObjectRef", None)
        bound = list(self._bound(account, namespace, spec["boundObjectRef"]))
        token, expires = self._tokens.issue(account, audiences=spec["audiences"], seconds=seconds, bound=bound)
        return {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"name": name, "namespace": namespace, "uid": uid, "creationTimestamp": timestamp()},
            "spec": spec,
            "status": {"token": "" if dry_run else token, "expirationTimestamp": timestamp(expires)},
        }

    def _bound(self, account: Object, namespace: str, reference: Object | None) -> Iterator[tuple[str, Object]]:
        if not reference:
            return
        about = (reference.get("apiVersion", ""), reference.get("kind", ""))
        if about not in _KINDS:
            group, _, version = about[0].rpartition("/")
            raise bad_request(f"cannot bind token to object of type {group}/{version}, Kind={about[1]}")
        kind, gvr = _KINDS[about]
        name = reference.get("name", "")
        obj = self._reader.get(gvr, name, namespace if gvr.namespaced else "")
        if obj is None:
            raise not_found("", gvr.resource, name)
        wanted = reference.get("uid", "")
        if wanted and wanted != uid_of(obj):
            raise conflict(
                "",
                reference["kind"],
                name,
                f"the UID in the bound object reference ({wanted}) does not match the UID in record. "
                "The object might have been deleted and then recreated",
            )
        if kind == "pod":
            owner = account["metadata"]["name"]
            spec = obj.get("spec") or {}
            if (spec.get("serviceAccountName") or "default") != owner:
                why = "to pod running with different serviceaccount name."
                raise bad_request(f'cannot bind token for serviceaccount "{owner}" {why}')
            if spec.get("nodeName"):
                # Told for who asks where the pod runs, even if there is no such node.
                node = self._reader.get(NODES, spec["nodeName"])
                yield "node", node or {"metadata": {"name": spec["nodeName"], "uid": ""}}
        yield kind, obj

    async def review(self, body: Object) -> Object:
        """POST `tokenreviews`: the TokenReview with `status.authenticated` and the user."""
        spec = body.get("spec") or {}
        token = spec.get("token") or ""
        if not token:
            raise bad_request("token is required for TokenReview in authentication")
        status: Object = {"user": {}}
        try:
            found = await self._authenticator.review_token(token, spec.get("audiences") or ())
        except TokenRejected as error:
            found = None
            status["error"] = f"[invalid bearer token, {error}]"
        if found is not None:
            status = {"authenticated": True, "user": user_object(found.user)}
            if found.audiences:
                status["audiences"] = list(found.audiences)
        elif "error" not in status:
            status["error"] = "invalid bearer token"
        return {
            "kind": "TokenReview",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": dict(body.get("metadata") or {}),
            "spec": spec,
            "status": status,
        }

    def openid_configuration(self) -> Object:
        """GET `/.well-known/openid-configuration`."""
        return {
            "issuer": self._tokens.issuer,
            "jwks_uri": f"{self._url or self._tokens.issuer}/openid/v1/jwks",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": self._tokens.algorithms(),
        }

    def jwks(self) -> Object:
        """GET `/openid/v1/jwks`."""
        return self._tokens.public_keys()


def user_object(user: UserInfo) -> Object:
    """The user as `authentication.k8s.io/v1` UserInfo."""
    found: Object = {"username": user.name}
    if user.uid:
        found["uid"] = user.uid
    if user.groups:
        found["groups"] = list(user.groups)
    if user.extra:
        found["extra"] = {k: list(v) for k, v in user.extra.items()}
    return found


def self_subject_review(user: UserInfo) -> Object:
    """POST `selfsubjectreviews`: who one is (`kubectl auth whoami`)."""
    return {
        "kind": "SelfSubjectReview",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"creationTimestamp": timestamp()},
        "status": {"userInfo": user_object(user)},
    }


def _lifetime_causes(seconds: int) -> Iterator[Cause]:
    if seconds < _SHORTEST:
        yield Cause(
            "spec.expirationSeconds", f"Invalid value: {seconds}: may not specify a duration less than 10 minutes"
        )
    if seconds > _LONGEST:
        yield Cause(
            "spec.expirationSeconds", f"Invalid value: {seconds}: may not specify a duration larger than 2^32 seconds"
        )


__all__ = ["TokenEndpoints", "self_subject_review", "user_object"]
