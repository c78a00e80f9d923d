"""Users, domains, projects, roles and assignments as the objects that hold them. No policy, no HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from dataclasses import dataclass, field
from typing import Any

from kumo.api.errors import StatusError, is_already_exists, is_not_found
from kumo.api.objects import Object, labels_of, name_of, uid_of
from kumo.api.resources import CLUSTERROLEBINDINGS, CLUSTERROLES, GVR, NAMESPACES, ROLEBINDINGS
from kumo.machinery.client import Client
from kumo.openstack.common import names
from kumo.openstack.common.lookup import ByUid
from kumo.openstack.keystone import kinds

_KUBERNETES_SUFFIX = "-kubernetes"


@dataclass(frozen=True, slots=True)
class Assignment:
    """A role of a user in a project (its namespace), a domain (its id) or the whole system."""

    user: str
    role: str
    namespace: str = ""
    domain: str = ""
    system: bool = False


@dataclass
class Directory:
    """The identities of the cloud; `client` may do everything. `lock` makes check-then-create of names one step."""

    client: Client
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _projects: ByUid = field(default_factory=lambda: ByUid(NAMESPACES, names.hex_id))

    # -- users and domains ------------------------------------------------------------------------------------------

    async def users(self) -> list[Object]:
        """All users."""
        return (await self.client.list(names.USERS)).items

    async def user(self, user_id: str) -> Object | None:
        """The user of that id."""
        return await self._named(names.USERS, user_id)

    async def user_by_name(self, name: str, domain_id: str) -> Object | None:
        """The user of that name in the domain."""
        return next((u for u in await self.users() if u["spec"]["name"] == name and domain_of(u) == domain_id), None)

    async def username_taken(self, username: str) -> bool:
        """Whether a user has that name towards Kubernetes."""
        return any(username_of(u) == username for u in await self.users())

    async def domains(self) -> list[Object]:
        """All domains."""
        return (await self.client.list(names.DOMAINS)).items

    async def domain(self, domain_id: str) -> Object | None:
        """The domain of that id."""
        return await self._named(names.DOMAINS, domain_id)

    async def domain_by_name(self, name: str) -> Object | None:
        """The domain of that name."""
        return next((d for d in await self.domains() if d["spec"]["name"] == name), None)

    # -- projects ---------------------------------------------------------------------------------------------------

    async def projects(self) -> list[Object]:
        """All projects: every namespace is one."""
        return (await self.client.list(NAMESPACES)).items

    async def project(self, project_id: str) -> Object | None:
        """The namespace of the project of that id."""
        return await self._projects.find(self.client, project_id) if names.is_hex_id(project_id) else None

    async def project_by_name(self, name: str, domain_id: str) -> Object | None:
        """The namespace of the project of that name in the domain."""
        for found in await self.projects():
            if names.display_name(found) == name and project_domain(found) == domain_id:
                return found
        return None

    async def namespace(self, name: str, uid: str) -> Object | None:
        """The namespace, if it is still the one with that uid."""
        found = await self._named(NAMESPACES, name)
        return found if found is not None and uid_of(found) == uid else None

    # -- roles ------------------------------------------------------------------------------------------------------

    async def roles(self) -> list[Object]:
        """The ClusterRoles that stand for roles."""
        return (await self.client.list(CLUSTERROLES, label_selector=names.ROLE)).items

    async def role(self, role_id: str) -> Object | None:
        """The role of that id."""
        return next((r for r in await self.roles() if names.hex_id(r) == role_id), None)

    async def roles_in(self, user: Object, namespace: str) -> set[str]:
        """The user's roles in the project, without what they imply: from OpenStack's bindings and from kubectl's."""
        bindings = (await self.client.list(ROLEBINDINGS, namespace)).items
        return {role for b in bindings if _binds(b, username_of(user)) and (role := _role_of(b))}

    async def roles_beyond(self, user: Object, *, domain: str = "", system: bool = False) -> set[str]:
        """The user's roles in a domain or in the system, without what they imply."""
        return {
            a.role
            for a in await self._wide_assignments()
            if a.user == username_of(user) and ((system and a.system) or (domain and a.domain == domain))
        }

    # -- assignments ------------------------------------------------------------------------------------------------

    async def assignments(self) -> list[Assignment]:
        """Every assignment there is; `user` is the name towards Kubernetes."""
        found: dict[Assignment, None] = {}
        for binding in (await self.client.list(ROLEBINDINGS)).items:
            role = _role_of(binding)
            for subject in binding.get("subjects") or ():
                if role and subject.get("kind") == "User":
                    found[Assignment(subject["name"], role, binding["metadata"]["namespace"])] = None
        for wide in await self._wide_assignments():
            found[wide] = None
        return list(found)

    async def _wide_assignments(self) -> list[Assignment]:
        made = []
        for binding in (await self.client.list(CLUSTERROLEBINDINGS, label_selector=names.SCOPE)).items:
            labels = labels_of(binding)
            scope, role = labels[names.SCOPE], labels.get(names.ROLE, "")
            for subject in binding.get("subjects") or ():
                domain = "" if scope == "system" else scope.removeprefix("domain.")
                made.append(Assignment(subject["name"], role, "", domain, scope == "system"))
        return made

    async def assign(self, wanted: Assignment) -> None:
        """Make the assignment; nothing to do if there is one."""
        for gvr, binding in _objects(wanted):
            try:
                await self.client.create(gvr, binding)
            except StatusError as error:
                if not is_already_exists(error):
                    raise

    async def unassign(self, wanted: Assignment) -> None:
        """Take the assignment away, whoever made it."""
        if not wanted.namespace:
            for gvr, binding in _objects(wanted):
                await self._delete(gvr, name_of(binding), "")
            return
        for binding in (await self.client.list(ROLEBINDINGS, wanted.namespace)).items:
            ours = labels_of(binding).get(names.ROLE) == wanted.role
            if _binds(binding, wanted.user) and (ours or _role_of(binding) == wanted.role):
                others = [s for s in binding["subjects"] if s.get("name") != wanted.user or s.get("kind") != "User"]
                if others:
                    await self.client.update(ROLEBINDINGS, {**binding, "subjects": others})
                else:
                    await self._delete(ROLEBINDINGS, name_of(binding), wanted.namespace)

    async def _delete(self, gvr: GVR, name: str, namespace: str) -> None:
        try:
            await self.client.delete(gvr, name, namespace)
        except StatusError as error:
            if not is_not_found(error):
                raise

    async def _named(self, gvr: GVR, name: str) -> Object | None:
        if not name or len(name) > 253 or not name.isascii() or "/" in name or name in (".", ".."):
            return None
        try:
            return await self.client.get(gvr, name)
        except StatusError as error:
            if is_not_found(error):
                return None
            raise


def username_of(user: Object) -> str:
    """The user's name towards the Kubernetes API."""
    spec: dict[str, Any] = user["spec"]
    return str(spec.get("username") or f"openstack:{name_of(user)}")


def domain_of(user: Object) -> str:
    """The id of the user's domain."""
    return str(user["spec"].get("domainID") or names.DEFAULT_DOMAIN)


def project_domain(namespace: Object) -> str:
    """The id of the project's domain."""
    return labels_of(namespace).get(names.DOMAIN) or names.DEFAULT_DOMAIN


def new_id() -> str:
    """An id of Keystone's form for something that is named by its id."""
    return uuid.uuid4().hex


def _binds(binding: Object, username: str) -> bool:
    subjects = binding.get("subjects") or ()
    return any(s.get("kind") == "User" and s.get("name") == username for s in subjects)


def _role_of(binding: Object) -> str:
    """The role that a RoleBinding gives, by what it refers to and not by its labels, which its owner may write."""
    reference = binding["roleRef"]
    if reference["kind"] != "ClusterRole":
        return ""
    if reference["name"].startswith("openstack:"):
        return str(reference["name"].removeprefix("openstack:"))
    if labels_of(binding).get(names.ROLE) and name_of(binding).endswith(_KUBERNETES_SUFFIX):
        return ""
    return kinds.FROM_KUBERNETES.get(reference["name"], "")


def _objects(wanted: Assignment) -> list[tuple[GVR, Object]]:
    scope = "system" if wanted.system else f"domain.{wanted.domain}" if wanted.domain else wanted.namespace
    digest = hashlib.sha256(f"{wanted.user}\n{wanted.role}\n{scope}".encode()).hexdigest()[:20]
    subject = {"kind": "User", "name": wanted.user}
    if wanted.namespace:
        made = kinds.grant_object(wanted.role, f"openstack-{digest}", subject, wanted.namespace)
        return [(ROLEBINDINGS, b) for b in made]
    # The role itself, not Kubernetes' role of the same reach: that would reach into every namespace.
    meta = {"name": f"openstack-{digest}", "labels": {names.ROLE: wanted.role, names.SCOPE: scope}}
    return [(CLUSTERROLEBINDINGS, kinds.binding_object(meta, f"openstack:{wanted.role}", subject))]
