"""The checks of the level `restricted`: what hardened pods must state. Pure."""

from __future__ import annotations

from kumo.api.objects import Object
from kumo.kubernetes.apiserver.admission.pod_security.baseline import bad_seccomp, proc_mount, seccomp
from kumo.kubernetes.apiserver.admission.pod_security.findings import (
    Finding,
    Pick,
    containers,
    named,
    plural,
    quoted,
    security,
    setters,
    unless_own_users,
    unless_windows,
)

_VOLUMES = (
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
)
_OTHER_VOLUMES = (
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "nfs",
    "iscsi",
    "glusterfs",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "fc",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "storageos",
)


def _escalation(meta: Object, spec: Object) -> Finding | None:
    names = [c.get("name", "") for c in containers(spec) if security(c).get("allowPrivilegeEscalation") is not False]
    if not names:
        return None
    what = f"{named('container', names)} must set securityContext.allowPrivilegeEscalation=false"
    return Finding("allowPrivilegeEscalation != false", what)


def _capabilities(meta: Object, spec: Object) -> Finding | None:
    keeping, adding, wrong = [], [], set()
    for container in containers(spec):
        capabilities = security(container).get("capabilities") or {}
        if "ALL" not in (capabilities.get("drop") or ()):
            keeping.append(container.get("name", ""))
        more = set(capabilities.get("add") or ()) - {"NET_BIND_SERVICE"}
        if more:
            adding.append(container.get("name", ""))
            wrong |= more
    details = []
    if keeping:
        details.append(f'{named("container", keeping)} must set securityContext.capabilities.drop=["ALL"]')
    if adding:
        what = f"must not include {quoted(sorted(wrong))} in securityContext.capabilities.add"
        details.append(f"{named('container', adding)} {what}")
    return Finding("unrestricted capabilities", "; ".join(details)) if details else None


def _volumes(meta: Object, spec: Object) -> Finding | None:
    names, kinds = [], set()
    for volume in spec.get("volumes") or ():
        if all(volume.get(kind) is None for kind in _VOLUMES):
            names.append(volume.get("name", ""))
            kinds.add(next((kind for kind in _OTHER_VOLUMES if volume.get(kind) is not None), "unknown"))
    if not names:
        return None
    verb = "uses" if len(names) == 1 else "use"
    which = plural("restricted volume type", len(kinds))
    return Finding("restricted volume types", f"{named('volume', names)} {verb} {which} {quoted(sorted(kinds))}")


def _non_root(meta: Object, spec: Object) -> Finding | None:
    reason = "runAsNonRoot != true"
    who = setters(spec, lambda context: context.get("runAsNonRoot") is False)
    if who:
        return Finding(reason, f"{' and '.join(who)} must not set securityContext.runAsNonRoot=false")
    if security(spec).get("runAsNonRoot"):
        return None
    names = [c.get("name", "") for c in containers(spec) if security(c).get("runAsNonRoot") is None]
    if not names:
        return None
    return Finding(reason, f"pod or {named('container', names)} must set securityContext.runAsNonRoot=true")


def _user(meta: Object, spec: Object) -> Finding | None:
    who = setters(spec, lambda context: context.get("runAsUser") == 0)
    return Finding("runAsUser=0", f"{' and '.join(who)} must not set runAsUser=0") if who else None


def _seccomp(meta: Object, spec: Object) -> Finding | None:
    found = seccomp(meta, spec)
    if found is not None or (security(spec).get("seccompProfile") is not None and not bad_seccomp(security(spec))):
        return found
    names = [c.get("name", "") for c in containers(spec) if security(c).get("seccompProfile") is None]
    if not names:
        return None
    wanted = 'must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    return Finding("seccompProfile", f"pod or {named('container', names)} {wanted}")


RESTRICTED: dict[str, tuple[Pick, ...]] = {
    "allowPrivilegeEscalation": (Pick(8, _escalation), Pick(25, unless_windows(_escalation))),
    "capabilities_restricted": (
        Pick(22, _capabilities, ("capabilities_baseline",)),
        Pick(25, unless_windows(_capabilities), ("capabilities_baseline",)),
    ),
    "procMount_restricted": (Pick(35, proc_mount, ("procMount",)),),
    "restrictedVolumes": (Pick(0, _volumes, ("hostPathVolumes",)),),
    "runAsNonRoot": (Pick(0, _non_root), Pick(35, unless_own_users(_non_root))),
    "runAsUser": (Pick(23, _user), Pick(35, unless_own_users(_user))),
    "seccompProfile_restricted": (
        Pick(19, _seccomp, ("seccompProfile_baseline",)),
        Pick(25, unless_windows(_seccomp), ("seccompProfile_baseline",)),
    ),
}
"""The checks by name, in order of versions; those of the baseline come with them."""
