"""What goes wrong between a CSI driver and its caller."""

from __future__ import annotations

from kumo.host.grpc_status import wire_text

_UNCERTAIN = frozenset({"CANCELLED", "DEADLINE_EXCEEDED", "UNAVAILABLE", "RESOURCE_EXHAUSTED", "ABORTED"})


class CsiError(Exception):
    """A driver refused or could not be reached. `code` is gRPC's name: NOT_FOUND, UNAVAILABLE, ...

    A handler of `server` raises it to refuse; a call of `client` raises what the driver said.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def wire(self) -> str:
        """The error as Go's gRPC prints it, which upstream's events and conditions quote."""
        return wire_text(self.code, self.message)

    @property
    def final(self) -> bool:
        """Whether the driver surely does not go on with it. False when it may still be at work, or was never reached.

        Upstream: `IsFinalError` of the kubelet and of the sidecars.
        """
        return self.code not in _UNCERTAIN


def missing(what: str) -> CsiError:
    """The refusal of a request without a field that it needs."""
    return CsiError("INVALID_ARGUMENT", f"{what} missing in request")
