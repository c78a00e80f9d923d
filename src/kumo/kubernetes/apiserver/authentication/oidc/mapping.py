"""From the claims of a verified token to a user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kumo.api.users import UserInfo
from kumo.kubernetes.apiserver.authentication.oidc.settings import ProviderSettings, SettingsError
from kumo.kubernetes.apiserver.authentication.results import TokenRejected
from kumo.machinery.listener.identity import CREDENTIAL_ID

if TYPE_CHECKING:
    from kumo.machinery.cel import Program

Claims = Mapping[str, Any]


class ClaimMapping:
    """One provider's way from claims to users; expressions are compiled once. Raises SettingsError for bad ones."""

    def __init__(self, settings: ProviderSettings) -> None:
        self._settings = settings
        self._programs: dict[str, Program] = {}
        given = (settings.username_expression, settings.groups_expression, settings.uid_expression)
        about_claims = [
            e for e in (*given, *(e for _, e in settings.extra), *(e for e, _ in settings.claim_rules)) if e
        ]
        about_user = [e for e, _ in settings.user_rules]
        if about_claims or about_user:
            self._compile("claims", about_claims)
            self._compile("user", about_user)

    def _compile(self, variable: str, expressions: list[str]) -> None:
        # Heavy, and wanted by few.
        from kumo.machinery.cel import DYN, CompileError, Environment

        environment = Environment({variable: DYN})
        for expression in expressions:
            try:
                self._programs[f"{variable}:{expression}"] = environment.compile(expression)
            except CompileError as error:
                raise SettingsError(f"{self._settings.issuer}: {expression!r}: {error}") from error

    def user(self, claims: Claims) -> UserInfo:
        """The user. Raises TokenRejected, in upstream's words, when a claim is missing or a rule says no."""
        name = self._name(claims)
        groups = self._groups(claims)
        uid = self._uid(claims)
        extra = self._extra(claims)
        if isinstance(claims.get("jti"), str) and claims["jti"]:
            extra.setdefault(CREDENTIAL_ID, (f"JTI={claims['jti']}",))
        user = UserInfo(name, groups, uid, extra)
        self._required(claims)
        for expression, message in self._settings.claim_rules:
            self._rule("claims", expression, message, claims, "claim validation expression")
        for expression, message in self._settings.user_rules:
            shown = {
                "username": user.name,
                "groups": list(user.groups),
                "uid": user.uid,
                "extra": {key: list(values) for key, values in extra.items()},
            }
            self._rule("user", expression, message, shown, "user info validation rule")
        return user

    def _name(self, claims: Claims) -> str:
        settings = self._settings
        if settings.username_expression:
            found = self._evaluate("claims", settings.username_expression, claims, "username claim expression")
            if not isinstance(found, str):
                raise _rejected("error evaluating username claim expression: it must return a string")
            if not found:
                raise _rejected("empty username via CEL expression is not allowed")
            return found
        claim = settings.username_claim
        found = claims.get(claim)
        if claim not in claims:
            raise _rejected(f'parse username claims "{claim}": claim not present')
        if not isinstance(found, str):
            raise _rejected(f'parse username claims "{claim}": it is not a string')
        if claim == "email" and claims.get("email_verified", True) is not True:
            raise _rejected("email not verified")
        return settings.username_prefix + found

    def _groups(self, claims: Claims) -> tuple[str, ...]:
        settings = self._settings
        if settings.groups_expression:
            found = self._evaluate("claims", settings.groups_expression, claims, "group claim expression")
            return _texts(found, "error evaluating group claim expression: ")
        if not settings.groups_claim or settings.groups_claim not in claims:
            return ()
        found = claims[settings.groups_claim]
        groups = _texts(found, f'parse groups claim "{settings.groups_claim}": ')
        return tuple(settings.groups_prefix + group for group in groups)

    def _uid(self, claims: Claims) -> str:
        settings = self._settings
        if settings.uid_expression:
            found = self._evaluate("claims", settings.uid_expression, claims, "uid claim expression")
        elif settings.uid_claim:
            found = claims.get(settings.uid_claim)
        else:
            return ""
        if not isinstance(found, str):
            raise _rejected(f'parse uid claim "{settings.uid_claim}": it is not a string')
        return found

    def _extra(self, claims: Claims) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for key, expression in self._settings.extra:
            value = self._evaluate("claims", expression, claims, "extra claim expression")
            texts = _texts(value, f"error evaluating extra claim expression: {expression}: ")
            if any(texts):
                found[key] = texts
        return found

    def _required(self, claims: Claims) -> None:
        for claim, wanted in self._settings.required_claims.items():
            if claim not in claims:
                raise _rejected(f"required claim {claim} not present in ID token")
            if claims[claim] != wanted:
                raise _rejected(f"required claim {claim} value does not match. Got = {claims[claim]}, want = {wanted}")

    def _rule(self, variable: str, expression: str, message: str, value: Claims, what: str) -> None:
        found = self._evaluate(variable, expression, value, what)
        if found is not True:
            raise _rejected(f"error evaluating {what}: validation expression '{expression}' failed: {message}")

    def _evaluate(self, variable: str, expression: str, value: Claims, what: str) -> Any:
        from kumo.machinery.cel import Budget, CelError

        try:
            return self._programs[f"{variable}:{expression}"].evaluate({variable: dict(value)}, Budget())
        except CelError as error:
            raise _rejected(f"error evaluating {what}: {error}") from None


def _texts(value: Any, what: str) -> tuple[str, ...]:
    """A text or a list of texts, as a tuple."""
    if value is None or value == "":
        return ()
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list | tuple) and all(isinstance(v, str) for v in value):
        return tuple(value)
    raise _rejected(f"{what}expression must return a string or a list of strings")


def _rejected(why: str) -> TokenRejected:
    return TokenRejected(f"oidc: {why}")
