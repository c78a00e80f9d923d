"""How identities look in Keystone's API. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from kumo.api.objects import Object, annotations_of, name_of
from kumo.openstack.common import names
from kumo.openstack.common.service import Call
from kumo.openstack.common.times import keystone_time
from kumo.openstack.keystone.authenticator import Proof, project_enabled
from kumo.openstack.keystone.catalog import catalog
from kumo.openstack.keystone.directory import domain_of, project_domain


def _self(base: str, collection: str, identity: str) -> dict[str, str]:
    return {"self": f"{base}/identity/v3/{collection}/{identity}"}


def listing(call: Call, key: str, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A list with its links."""
    query = f"?{call.request.query_string}" if call.request.query_string else ""
    return {
        key: list(items),
        "links": {"next": None, "self": f"{call.base}{call.request.path}{query}", "previous": None},
    }


def user(found: Object, base: str) -> dict[str, Any]:
    """A user."""
    spec = found["spec"]
    made: dict[str, Any] = dict(spec.get("attributes") or {})
    made |= {
        "id": name_of(found),
        "name": spec["name"],
        "domain_id": domain_of(found),
        "enabled": spec.get("enabled", True),
        "password_expires_at": None,
        "options": {},
        "links": _self(base, "users", name_of(found)),
    }
    for key, field in (("email", "email"), ("description", "description"), ("default_project_id", "defaultProjectID")):
        if spec.get(field):
            made[key] = spec[field]
    return made


def project(found: Object, base: str) -> dict[str, Any]:
    """A project."""
    annotations = annotations_of(found)
    return {
        "id": names.hex_id(found),
        "name": names.display_name(found),
        "domain_id": project_domain(found),
        "description": annotations.get(names.DESCRIPTION, ""),
        "enabled": project_enabled(found),
        "parent_id": project_domain(found),
        "is_domain": False,
        "tags": tags(found),
        "options": {},
        "links": _self(base, "projects", names.hex_id(found)),
    }


def tags(found: Object) -> list[str]:
    """The tags of a project."""
    try:
        kept = json.loads(annotations_of(found).get(names.TAGS, "[]"))
    except ValueError:
        return []
    return [t for t in kept if isinstance(t, str)] if isinstance(kept, list) else []


def domain(found: Object, base: str) -> dict[str, Any]:
    """A domain."""
    spec = found["spec"]
    return {
        "id": name_of(found),
        "name": spec["name"],
        "description": spec.get("description", ""),
        "enabled": spec.get("enabled", True),
        "tags": [],
        "options": {},
        "links": _self(base, "domains", name_of(found)),
    }


def role(found: Object, base: str) -> dict[str, Any]:
    """A role."""
    built_in = name_of(found).removeprefix("openstack:") == names.display_name(found)
    return {
        "id": names.hex_id(found),
        "name": names.display_name(found),
        "domain_id": None,
        "description": annotations_of(found).get(names.DESCRIPTION),
        "options": {"immutable": True} if built_in else {},
        "links": _self(base, "roles", names.hex_id(found)),
    }


def domain_reference(domains: Sequence[Object], domain_id: str) -> dict[str, str]:
    """Id and name of a domain."""
    named = next((d["spec"]["name"] for d in domains if name_of(d) == domain_id), domain_id)
    return {"id": domain_id, "name": named}


def token(proof: Proof, roles: Sequence[Object], domains: Sequence[Object], base: str, *, full: bool) -> dict[str, Any]:
    """A token's description; `full` with the catalog."""
    found = proof.token
    body: dict[str, Any] = {
        "methods": list(found.methods),
        "user": {
            "domain": domain_reference(domains, domain_of(proof.user)),
            "id": found.user_id,
            "name": proof.user["spec"]["name"],
            "password_expires_at": None,
        },
        "audit_ids": list(found.audit_ids),
        "expires_at": keystone_time(found.expires),
        "issued_at": keystone_time(found.issued),
    }
    if proof.namespace is not None:
        space = proof.namespace
        body["project"] = {
            "domain": domain_reference(domains, project_domain(space)),
            "id": names.hex_id(space),
            "name": names.display_name(space),
        }
        body["is_domain"] = False
    if proof.domain is not None:
        body["domain"] = domain_reference(domains, name_of(proof.domain))
    if found.system:
        body["system"] = {"all": True}
    if proof.roles:
        held = [r for r in roles if name_of(r).removeprefix("openstack:") in proof.roles]
        body["roles"] = [{"id": names.hex_id(r), "name": names.display_name(r)} for r in held]
        if full:
            body["catalog"] = catalog(base)
    return {"token": body}
