"""Migrations, replica sets and evictions of launcher pods."""

from __future__ import annotations

from collections.abc import Callable

from kumo.api.conditions import condition
from kumo.api.errors import StatusError
from kumo.api.objects import Object, is_deleting, labels_of, uid_of
from kumo.api.resources import PODS, VMIS
from kumo.kubevirt.common.config import ClusterConfig
from kumo.kubevirt.common.names import APP_LABEL, CONTROLLER_USER, DOMAIN_ANNOTATION, FINAL_PHASES, MIGRATIONS
from kumo.kubevirt.virt_api.admission.review import ALLOWED, Request, Verdict, failed, put, refused
from kumo.kubevirt.virt_api.schema.instance import MIGRATION
from kumo.kubevirt.virt_api.schema.machine import REPLICA_SET
from kumo.kubevirt.virt_api.validation.causes import invalid, required, unsupported
from kumo.kubevirt.virt_api.validation.instance import spec_rules
from kumo.kubevirt.virt_api.validation.schema_check import check_schema
from kumo.machinery.client import Client

MIGRATION_FINALIZER = "kubevirt.io/migrationJobFinalize"
VMI_NAME_LABEL = "kubevirt.io/vmi-name"


class OtherHooks:
    """Hooks of the smaller kinds."""

    def __init__(self, client: Client, config: Callable[[], ClusterConfig]) -> None:
        self._client = client
        self._config = config

    async def mutate_migration(self, request: Request) -> Verdict:
        """Label a new migration with its instance, and keep it until it has been cleaned up."""
        problems = check_schema(MIGRATION, request.new)
        if problems:
            return refused(problems)
        meta = dict(request.new.get("metadata") or {})
        name = (request.new.get("spec") or {}).get("vmiName", "")
        meta["labels"] = {**(meta.get("labels") or {}), VMI_NAME_LABEL: name}
        meta["finalizers"] = [*(meta.get("finalizers") or ()), MIGRATION_FINALIZER]
        return Verdict(patch=put(metadata=meta))

    async def validate_migration(self, request: Request) -> Verdict:
        """A migration needs an instance that runs, can move and is not moving already."""
        spec = request.new.get("spec") or {}
        name = spec.get("vmiName")
        if not name:
            return refused([required("spec.vmiName", "vmiName is missing")])
        if spec.get("priority") is not None and request.user != CONTROLLER_USER:
            message = "Migration priority queue, only virt-controller is allowed to set priority field"
            return refused([invalid("spec.migrationPriority", message)._replace(reason="FieldValueForbidden")])
        try:
            vmi = await self._client.get(VMIS, name, request.namespace)
        except StatusError as error:
            if error.code == 404:
                return failed(f'the VMI "{request.namespace}/{name}" does not exist')
            return failed(error.message)
        if (vmi.get("status") or {}).get("phase") in FINAL_PHASES:
            return failed("Cannot migrate VMI in finalized state.")
        migratable = condition(vmi, "LiveMigratable") or {}
        if migratable.get("status") == "False":
            reason, message = migratable.get("reason", ""), migratable.get("message", "")
            return failed(f"Cannot migrate VMI, Reason: {reason}, Message: {message}")
        selector = f"{VMI_NAME_LABEL} in ({name})"
        others = await self._client.list(MIGRATIONS, request.namespace, label_selector=selector)
        for other in others.items:
            if (other.get("status") or {}).get("phase") not in FINAL_PHASES:
                text = f"Active migration job ({uid_of(other)}) is currently already in progress for VMI {name}."
                return failed(f"in-flight migration detected. {text}")
        return ALLOWED

    async def validate_migration_update(self, request: Request) -> Verdict:
        """The spec and, while it runs, the label of a migration stay as they are."""
        if request.new.get("spec") != request.old.get("spec"):
            return refused([unsupported("", "update of Migration object's spec is restricted")])
        if (request.new.get("status") or {}).get("phase") in FINAL_PHASES:
            return ALLOWED
        before, after = labels_of(request.old).get(VMI_NAME_LABEL), labels_of(request.new).get(VMI_NAME_LABEL)
        if before is not None and before != after:
            verb = "modified on" if labels_of(request.new) else "removed from"
            return refused([unsupported("", f"selector label can't be {verb} an in-flight migration")])
        return ALLOWED

    async def validate_replica_set(self, request: Request) -> Verdict:
        """A replica set needs a template whose labels its selector selects."""
        problems = check_schema(REPLICA_SET, request.new)
        if problems:
            return refused(problems)
        template = request.new["spec"]["template"]
        causes = list(spec_rules("spec.template.spec", template.get("spec") or {}, self._config()))
        wanted = (request.new["spec"].get("selector") or {}).get("matchLabels") or {}
        if not wanted.items() <= ((template.get("metadata") or {}).get("labels") or {}).items():
            causes.append(invalid("spec.selector", "selector does not match labels."))
        return refused(causes) if causes else ALLOWED

    async def validate_eviction(self, request: Request) -> Verdict:
        """The eviction of a launcher pod: refused, or the instance marked to be moved, as its strategy says."""
        pod = await self._pod(request)
        if pod is None or labels_of(pod).get(APP_LABEL) != "virt-launcher" or is_deleting(pod):
            return ALLOWED
        name = ((pod.get("metadata") or {}).get("annotations") or {}).get(DOMAIN_ANNOTATION)
        if not name or (pod.get("status") or {}).get("phase") in FINAL_PHASES:
            return ALLOWED
        try:
            vmi = await self._client.get(VMIS, name, request.namespace)
        except StatusError as error:
            return ALLOWED if error.code == 404 else failed(error.message, 500)
        strategy = (vmi.get("spec") or {}).get("evictionStrategy") or self._config().eviction_strategy
        movable = (condition(vmi, "LiveMigratable") or {}).get("status") == "True"
        if strategy == "None" or (strategy == "LiveMigrateIfPossible" and not movable):
            return ALLOWED
        if strategy == "LiveMigrate" and not movable:
            text = f"VMI {name} is configured with an eviction strategy but is not live-migratable"
            return failed(text, 429)
        node = (vmi.get("status") or {}).get("nodeName")
        if not request.dry_run and node == (pod.get("spec") or {}).get("nodeName"):
            patch = [{"op": "add", "path": "/status/evacuationNodeName", "value": node}]
            await self._client.patch(VMIS, name, patch, request.namespace, kind="application/json-patch+json")
        text = f'Eviction triggered evacuation of VMI "{request.namespace}/{name}"'
        return failed(text, 429)

    async def _pod(self, request: Request) -> Object | None:
        name = request.name or ((request.new.get("metadata") or {}).get("name") or "")
        try:
            return await self._client.get(PODS, name, request.namespace)
        except StatusError as error:
            if error.code == 404:
                return None
            raise
