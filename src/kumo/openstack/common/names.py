"""The names under which OpenStack's facts live in Kubernetes objects: kinds, labels, annotations, namespaces."""

from __future__ import annotations

import re

from kumo.api.objects import Object, annotations_of, uid_of
from kumo.api.resources import GVR

SYSTEM_NAMESPACE = "kumo-system"
"""Where Secrets live that no project may read: password hashes, the token key, users' key pairs."""
PREFIX = "openstack.kumo.dev"

USERS = GVR("identity.kumo.dev", "v1", "users", False)
DOMAINS = GVR("identity.kumo.dev", "v1", "domains", False)
REVOCATIONS = GVR("identity.kumo.dev", "v1", "revocations", False)
IMAGES = GVR("image.kumo.dev", "v1", "images")
FLAVORS = GVR("instancetype.kubevirt.io", "v1beta1", "virtualmachineclusterinstancetypes", False)

NAME = f"{PREFIX}/name"
"""Annotation: the free-text name, where `metadata.name` can't hold it."""
DESCRIPTION = f"{PREFIX}/description"
ENABLED = f"{PREFIX}/enabled"
DOMAIN = f"{PREFIX}/domain"
TAGS = f"{PREFIX}/tags"
USER = f"{PREFIX}/user-id"
ROLE = f"{PREFIX}/role"
SCOPE = f"{PREFIX}/scope"
KEYPAIR = f"{PREFIX}/keypair"
FLAVOR_ID = f"{PREFIX}/flavor-id"
IMAGE_ID = f"{PREFIX}/image-id"

ADMINS_GROUP = "openstack:admins"
"""The group that a token with the role `admin` proves; bound to cluster-admin."""
DEFAULT_DOMAIN = "default"

_HEX = re.compile(r"[0-9a-f]{32}")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def hex_id(obj: Object) -> str:
    """Keystone's id of an object: its uid without dashes."""
    return uid_of(obj).replace("-", "")


def is_hex_id(text: str) -> bool:
    """Whether the text has the form of `hex_id`."""
    return _HEX.fullmatch(text) is not None


def is_uuid(text: str) -> bool:
    """Whether the text is a lower-case UUID with dashes, as Nova's and Glance's ids are."""
    return _UUID.fullmatch(text) is not None


def display_name(obj: Object) -> str:
    """The free-text name of an object, or its Kubernetes name."""
    return annotations_of(obj).get(NAME) or str(obj["metadata"]["name"])
