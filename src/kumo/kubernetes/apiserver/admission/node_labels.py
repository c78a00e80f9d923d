"""Which labels a kubelet may not set on its own node. Pure."""

from __future__ import annotations

from collections.abc import Mapping

_RESTRICTED = "node-restriction.kubernetes.io"
_KUBELETS = frozenset(
    (
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
        "beta.kubernetes.io/instance-type",
        "node.kubernetes.io/instance-type",
        "kubernetes.io/os",
        "kubernetes.io/arch",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/arch",
    )
)
_KUBELETS_OWN = ("kubelet.kubernetes.io", "node.kubernetes.io")


def forbidden_labels(new: Mapping[str, str], old: Mapping[str, str]) -> list[str]:
    """The labels that differ and that are not a kubelet's to change, sorted."""
    changed = {key for key in {*new, *old} if new.get(key) != old.get(key)}
    return sorted(key for key in changed if _is_forbidden(key))


def _is_forbidden(key: str) -> bool:
    prefix = key.partition("/")[0] if "/" in key else ""
    if _within(prefix, _RESTRICTED):
        return True
    kubernetes = _within(prefix, "kubernetes.io") or _within(prefix, "k8s.io")
    return kubernetes and key not in _KUBELETS and not any(_within(prefix, own) for own in _KUBELETS_OWN)


def _within(prefix: str, domain: str) -> bool:
    return prefix == domain or prefix.endswith(f".{domain}")
