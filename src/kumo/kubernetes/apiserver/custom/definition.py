"""The rules of CustomResourceDefinitions (apiextensions' validation), with the field paths of its internal form.

What all versions have in common (schema, subresources, columns, selectable fields) stands at the top of the internal
form; complaints name it there (`spec.validation.openAPIV3Schema`), as upstream's do.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.api.objects import Object
from kumo.kubernetes.apiserver.custom import approval, conversion
from kumo.kubernetes.apiserver.custom.causes import invalid_json
from kumo.kubernetes.apiserver.custom.defaults import validate_defaults
from kumo.kubernetes.apiserver.custom.field_paths import find_field
from kumo.kubernetes.apiserver.custom.gojson import SCHEMA_FIELDS, schema_value, version_value
from kumo.kubernetes.apiserver.custom.rule_checks import Scope, TotalCost
from kumo.kubernetes.apiserver.custom.schemas import Context, validate_schema
from kumo.kubernetes.apiserver.custom.structural import forbidden_construct, validate_structural

Spec = Mapping[str, Any]
SELECTABLE_LIMIT = 8
_AT_ROOT = "at the root of the schema if the status subresource is enabled"
_SHARED = ("schema", "subresources", "additionalPrinterColumns", "selectableFields")
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
_ROOT_FIELDS = (
    "Description", "Type", "Format", "Title", "Maximum", "ExclusiveMaximum", "Minimum", "ExclusiveMinimum", "MaxLength",
    "MinLength", "Pattern", "MaxItems", "MinItems", "UniqueItems", "MultipleOf", "Required", "Items", "Properties",
    "ExternalDocs", "Example", "XPreserveUnknownFields", "XValidations",
)  # fmt: skip


def shared_parts(versions: list[Spec]) -> set[str]:
    """What all versions have in common."""
    if not versions:
        return set()
    return {key for key in _SHARED if all((v.get(key) or None) == (versions[0].get(key) or None) for v in versions)}


def validate_definition(obj: Object, old: Object | None = None) -> list[Cause]:
    """What is wrong with a definition, new or changed."""
    spec = obj.get("spec") or {}
    called = spec.get("names") or {}
    group = spec.get("group") or ""
    found: list[Cause] = []
    for key in ("generateName", "name") if old is None else ():
        stated = (obj.get("metadata") or {}).get(key)
        if stated and stated != f"{called.get('plural') or ''}.{group}":
            found.append(fields.invalid(f"metadata.{key}", stated, 'must be spec.names.plural+"."+spec.group'))
    found += _spec(spec, _unchanged_schemas(spec, old))
    if old is not None:
        found += _changes(spec, old)
    found += _stored(obj, spec.get("versions") or [])
    found += approval.validate(obj, old)
    if spec.get("preserveUnknownFields") and not ((old or {}).get("spec") or {}).get("preserveUnknownFields"):
        detail = (
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        )
        found.append(fields.invalid("spec.preserveUnknownFields", True, detail))
    return found


def _unchanged_schemas(spec: Spec, old: Object | None) -> set[str]:
    """The versions whose schema is as it was: their rules may cost what they did."""
    before = {v.get("name"): v.get("schema") for v in ((old or {}).get("spec") or {}).get("versions") or ()}
    return {
        v["name"]
        for v in spec.get("versions") or ()
        if v.get("name") in before and v.get("schema") == before[v["name"]]
    }


def _spec(spec: Spec, unchanged: set[str]) -> Iterator[Cause]:
    group, versions = spec.get("group") or "", spec.get("versions") or []
    if not group:
        yield fields.required("spec.group")
    elif wrong := names.check_subdomain(group):
        yield fields.invalid("spec.group", group, ",".join(wrong))
    elif "." not in group:
        yield fields.invalid("spec.group", group, "should be a domain with at least one dot")
    scope = spec.get("scope") or ""
    if not scope:
        yield fields.required("spec.scope")
    elif scope not in ("Cluster", "Namespaced"):
        yield fields.unsupported("spec.scope", scope, ("Cluster", "Namespaced"))
    for index, version in enumerate(versions):
        if (version.get("schema") or {}).get("openAPIV3Schema") is None:
            yield fields.required(f"spec.versions[{index}].schema.openAPIV3Schema")
    shared = shared_parts(versions)
    yield from _versions(versions, shared, unchanged)
    yield from _names(spec.get("names") or {}, "spec.names")
    if versions:
        first = versions[0]
        yield from _parts({k: first.get(k) for k in shared}, "spec", first, unchanged, top=True)
    yield from conversion.validate(spec.get("conversion"))


def _versions(versions: list[Spec], shared: set[str], unchanged: set[str]) -> Iterator[Cause]:
    for index, version in enumerate(versions):
        here, name = f"spec.versions[{index}]", version.get("name") or ""
        if wrong := names.check_label_1035(name):
            yield fields.invalid(f"{here}.name", name, ",".join(wrong))
        for detail in _deprecation(version):
            yield fields.invalid(f"{here}.deprecationWarning", version.get("deprecationWarning"), detail)
        own = {k: version.get(k) for k in _SHARED if k not in shared}
        yield from _parts(own, here, version, unchanged, top=False)
    called = [v.get("name") or "" for v in versions]
    dump = [version_value(v, shared) for v in versions] or None
    if len(set(called)) < len(called):
        yield invalid_json("spec.versions", dump, "must contain unique version names")
    if sum(bool(v.get("storage")) for v in versions) != 1:
        yield invalid_json("spec.versions", dump, "must have exactly one version marked as storage version")
    if called and called[0] and (wrong := names.check_label_1035(called[0])):
        yield fields.invalid("spec.version", called[0], ",".join(wrong))


def _deprecation(version: Spec) -> Iterator[str]:
    text = version.get("deprecationWarning")
    if text is None:
        return
    if not version.get("deprecated"):
        yield "can only be set for deprecated versions"
        return
    if len(text.encode()) > 256:
        yield "must be <= 256 characters long"
    if not text:
        yield "must not be an empty string"
    bad = next((i for i, c in enumerate(text) if c != " " and unicodedata.category(c)[0] in "CZ"), None)
    if bad is not None:
        at = len(text[:bad].encode())
        yield f"must only contain printable UTF-8 characters; non-printable character found at index {at}"


def _names(called: Spec, path: str) -> Iterator[Cause]:
    for key in ("plural", "singular", "kind", "listKind"):
        if not called.get(key):
            yield fields.required(f"{path}.{key}")
    for key in ("plural", "singular", "kind", "listKind"):
        value = called.get(key) or ""
        mixed = key in ("kind", "listKind")
        wrong = names.check_label_1035(value.lower() if mixed else value) if value else []
        if wrong:
            prefix = "may have mixed case, but should otherwise match: " if mixed else ""
            yield fields.invalid(f"{path}.{key}", value, prefix + ",".join(wrong))
    yield from _labels(called, path, "shortNames")
    if called.get("kind") and called.get("kind") == called.get("listKind"):
        yield fields.invalid(f"{path}.listKind", called["listKind"], "kind and listKind may not be the same")
    yield from _labels(called, path, "categories")


def _labels(called: Spec, path: str, key: str) -> Iterator[Cause]:
    for index, value in enumerate(called.get(key) or ()):
        if wrong := names.check_label_1035(value):
            yield fields.invalid(f"{path}.{key}[{index}]", value, ",".join(wrong))


def _parts(parts: Spec, path: str, version: Spec, unchanged: set[str], top: bool) -> Iterator[Cause]:
    """Schema, subresources, columns and selectable fields, where they stand in the internal form."""
    schema = (parts.get("schema") or {}).get("openAPIV3Schema")
    if schema is not None:
        where = f"{path}.validation" if top else f"{path}.schema"
        status = ((version.get("subresources") or {}).get("status")) is not None
        yield from _schema(schema, f"{where}.openAPIV3Schema", status, version.get("name") in unchanged)
    scale = (parts.get("subresources") or {}).get("scale")
    if scale is not None:
        yield from _scale(scale, f"{path}.subresources.scale")
    for index, column in enumerate(parts.get("additionalPrinterColumns") or ()):
        yield from _column(column, f"{path}.additionalPrinterColumns[{index}]")
    selectable = parts.get("selectableFields") or []
    whole = (version.get("schema") or {}).get("openAPIV3Schema")
    where = f"{path}.selectableFields"
    if selectable and whole is None:
        wanted = "validations.schema is included" if top else "`version.schema.openAPIV3Schema` is not included"
        yield fields.invalid(where, "", f"may only be set when {wanted}")
    elif selectable and whole is not None:
        yield from _selectable(selectable, whole, where)


def _schema(schema: Spec, path: str, status: bool, cheap: bool) -> list[Cause]:
    found: list[Cause] = []
    if status:
        found += _root_limits(schema, path)
    if schema.get("nullable"):
        found.append(fields.forbidden(f"{path}.nullable", "nullable cannot be true at the root"))
    unfit = forbidden_construct(schema)
    scope: Scope | None = None
    if not unfit:
        wrong = validate_structural(path, schema) or validate_defaults(path, schema)
        found += wrong
        if not wrong:
            scope = Scope(TotalCost(), cheap=cheap)
    parts, rules = validate_schema(schema, path, Context(), scope)
    found += parts + rules
    if not found and unfit:
        found.append(fields.invalid(path, "", unfit))
    if scope is not None:
        found += scope.total.causes(path)
    return found


def _root_limits(schema: Spec, path: str) -> Iterator[Cause]:
    """With the status subresource, only some fields may stand at the root."""
    for key, name in SCHEMA_FIELDS.items():
        if schema.get(key) in (None, False, "", [], {}) and not (key in ("default",) and schema.get(key) is not None):
            continue
        if name == "Type":
            if schema["type"] != "object":
                detail = f'only "object" is allowed as the type {_AT_ROOT}'
                yield fields.invalid(f"{path}.type", schema["type"], detail)
                return
        elif name not in _ROOT_FIELDS:
            listed = " ".join(_ROOT_FIELDS)
            detail = (
                f"only [{listed}] fields are allowed at the root of the schema if the status subresource is enabled"
            )
            yield invalid_json(path, schema_value(schema), detail)
            return


def _simple_path(text: str, path: str) -> list[Cause]:
    if not text.startswith("."):
        return [fields.invalid(path, text, "must be a simple json path starting with .")]
    return []


def _scale(scale: Spec, path: str) -> Iterator[Cause]:
    for key, below in (("specReplicasPath", ".spec"), ("statusReplicasPath", ".status")):
        text = scale.get(key) or ""
        if not text:
            yield fields.required(f"{path}.{key}")
        elif wrong := _simple_path(text, f"{path}.{key}"):
            yield from wrong
        elif not text.startswith(f"{below}."):
            yield fields.invalid(f"{path}.{key}", text, f"should be a json path under {below}")
    text = scale.get("labelSelectorPath") or ""
    if text:
        at = f"{path}.labelSelectorPath"
        if wrong := _simple_path(text, at):
            yield from wrong
        elif not text.startswith((".spec.", ".status.")):
            yield fields.invalid(at, text, "should be a json path under either .spec or .status")


def _column(column: Spec, path: str) -> Iterator[Cause]:
    if not column.get("name"):
        yield fields.required(f"{path}.name")
    kind, form = column.get("type") or "", column.get("format") or ""
    detail = f"must be one of {','.join(_COLUMN_TYPES)}"
    if not kind:
        yield fields.required(f"{path}.type", detail)
    elif kind not in _COLUMN_TYPES:
        yield fields.invalid(f"{path}.type", kind, detail)
    if form and form not in _FORMATS:
        yield fields.invalid(f"{path}.format", form, f"must be one of {','.join(_FORMATS)}")
    text = column.get("jsonPath") or ""
    if not text:
        yield fields.required(f"{path}.JSONPath")
    else:
        yield from _simple_path(text, f"{path}.JSONPath")


def _selectable(selectable: list[Spec], schema: Spec, path: str) -> Iterator[Cause]:
    seen: set[str] = set()
    for index, one in enumerate(selectable):
        at, text = f"{path}[{index}].jsonPath", one.get("jsonPath") or ""
        if not text:
            yield fields.required(at)
            continue
        try:
            written, below = find_field(text, schema, brackets=False)
        except ValueError as error:
            yield fields.invalid(at, text, f"is an invalid path: {error}")
            continue
        if written.split(".")[0] == "metadata":
            yield fields.invalid(at, text, "must not point to fields in metadata")
        if below.get("type") not in ("string", "boolean", "integer"):
            detail = (
                "must point to a field of type string, boolean or integer. "
                "Enum string fields and strings with formats are allowed."
            )
            yield fields.invalid(at, text, detail)
        if written in seen:
            yield fields.duplicate(at, text)
        seen.add(written)
    if len(seen) > SELECTABLE_LIMIT:
        yield fields.too_many(path, len(seen), SELECTABLE_LIMIT)


def _stored(obj: Object, versions: list[Spec]) -> Iterator[Cause]:
    path = "status.storedVersions"
    stored = (obj.get("status") or {}).get("storedVersions") or []
    if not stored:
        yield invalid_json(path, None, "must have at least one stored version")
        return
    left = dict.fromkeys(stored)
    for version in versions:
        if version.get("storage") and version["name"] not in stored:
            yield invalid_json(path, stored, f"must have the storage version {version['name']}")
        left.pop(version.get("name"), None)
    for name in left:
        detail = (
            f"missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions "
            f"until a storage migration ensures no data remains persisted in {name} and removes {name} from "
            "status.storedVersions"
        )
        yield fields.invalid(f"{path}[{stored.index(name)}]", name, detail)


def _changes(spec: Spec, old: Object) -> Iterator[Cause]:
    before = old.get("spec") or {}

    def immutable(path: str, now: Any, then: Any) -> Iterator[Cause]:
        if now != then:
            yield fields.immutable(path, now)

    established = any(
        c.get("type") == "Established" and c.get("status") == "True"
        for c in (old.get("status") or {}).get("conditions") or ()
    )
    called, then = spec.get("names") or {}, before.get("names") or {}
    if established:
        yield from immutable("spec.scope", spec.get("scope"), before.get("scope"))
        yield from immutable("spec.names.kind", called.get("kind"), then.get("kind"))
    yield from immutable("spec.group", spec.get("group"), before.get("group"))
    yield from immutable("spec.names.plural", called.get("plural"), then.get("plural"))
