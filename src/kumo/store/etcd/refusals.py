"""etcd's errors in the store's terms. The texts are those of etcd's server; gRPC's own begin otherwise."""

from __future__ import annotations

from collections.abc import Mapping

from kumo.store.base import Denied, NoSpace, OutcomeUnknown, StoreError, TooLarge, Unavailable, Unreachable

_NOT_DONE = (
    "failed to connect",  # gRPC: no connection was made, so nothing was sent
    "dns resolution failed",
    "etcdserver: no leader",
    "etcdserver: not capable",
    "etcdserver: too many requests",
    "etcdserver: server stopped",
    "etcdserver: not ready",
    "etcdserver: rpc not supported for learner",
)
_NEVER = ("certificate_verify_failed", "tsi_data_corrupted", "security handshaker", "wrong_version")
"""What gRPC says of certificates and keys that don't fit: that does not pass by itself."""
_PASSING = frozenset(("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "INTERNAL", "UNKNOWN", "ABORTED"))


def passes(code: str) -> bool:
    """Whether another member, or the same one later, may answer."""
    return code in _PASSING


def was_not_done(code: str, details: str) -> bool:
    """Whether the request surely had no effect, so that it may be sent again."""
    return code == "UNAVAILABLE" and details.lower().startswith(_NOT_DONE)


def refusal(code: str, details: str, where: str) -> StoreError:
    """The error for an answer that no other member would give otherwise."""
    if "database space exceeded" in details:
        return NoSpace(
            f"etcd ({where}) has reached its quota of space and refuses writes: free space with 'etcdctl compact' and "
            "'etcdctl defrag' (or raise --quota-backend-bytes), then run 'etcdctl alarm disarm'"
        )
    if "request is too large" in details or "larger than max" in details:
        return TooLarge("the object is too large for etcd, which takes 1.5 MiB (its --max-request-bytes)")
    if code in ("PERMISSION_DENIED", "UNAUTHENTICATED") or "user name is empty" in details:
        return Denied(f"etcd ({where}) refuses us: {details}. Give it a user with a role for our keys")
    if code == "RESOURCE_EXHAUSTED":
        return Unreachable(f"etcd ({where}) is overloaded: {details}")
    return Unavailable(f"etcd ({where}) refused: {details}")


def no_answer(reasons: Mapping[str, str], *, sent: bool) -> StoreError:
    """The error when no member answers in time: each one's `reasons`. `sent`: the request may have had its effect.

    Unreachable for what may pass; Unavailable when the certificates or keys of every member are refused.
    """
    where, why = ", ".join(reasons), explain("; ".join(reasons.values()))
    if sent:
        return OutcomeUnknown(
            f"etcd ({where}) did not answer a write in time, and whether it was made is not known: {why}"
        )
    never = all(any(sign in reason.lower() for sign in _NEVER) for reason in reasons.values())
    kind = Unavailable if never else Unreachable
    return kind(f"etcd ({where}) does not answer: {why}")


def explain(details: str) -> str:
    """What a failure to connect means, and what to do; the worst of several."""
    text = details.lower()
    short = details.replace("failed to connect to all addresses; last error: ", "")
    if "security handshaker" in text:
        return f"the files given with --store-ca, --store-cert and --store-key are not certificates and a key ({short})"
    if "certificate_verify_failed" in text or ("cert" in text and "verify" in text):
        return f"its certificate was not issued by the CA given with --store-ca ({short})"
    if "tsi_" in text or "ssl" in text:
        return f"TLS failed: check --store-ca, --store-cert and --store-key ({short})"
    if "no leader" in text or "timed out" in text or "deadline" in text or "leader changed" in text:
        return f"it has no leader, probably because most of its members are down ({short})"
    if "socket closed" in text or "connection reset" in text:
        return f"it ended the connection; give --store-ca if it speaks TLS, and leave it out if not ({short})"
    if "connection refused" in text:
        return f"nothing listens there ({short})"
    return short or "the connection was lost"
