"""Certificate signing requests: their validation, and what each subresource may change (certificates.k8s.io/v1)."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from cryptography import x509

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.api.objects import Object, timestamp
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds.rules import Part, Rules, at
from kumo.machinery.certificate_requests import RequestError, check_signature, parse_request

LEGACY_SIGNER = "kubernetes.io/legacy-unknown"
_CONDITIONS = "status.conditions"
_FINAL = ("Approved", "Denied", "Failed")
_OPPOSITE = {"Approved": "Denied", "Denied": "Approved"}
_USAGES = (
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
)
_LONGEST_DOMAIN = 253
_LONGEST_SIGNER = 253 + 253 + 63 + 2
_PEM = re.compile(rb"-----BEGIN ([^-]*)-----(.*?)-----END \1-----", re.DOTALL)


# -- the specification ------------------------------------------------------------------------------------------------


def _validate_create(obj: Object) -> list[Cause]:
    return _validate(obj, {})


def _validate(new: Object, old: Object) -> list[Cause]:
    spec = new.get("spec") or {}
    found = _request(spec.get("request"))
    found += _usages(spec.get("usages") or [], lenient=bool(old))
    signer = spec.get("signerName") or ""
    if signer == LEGACY_SIGNER and at(old, "spec.signerName") != LEGACY_SIGNER:
        detail = "the legacy signerName is not allowed via this API version"
        found.append(fields.invalid("spec.signerName", signer, detail))
    else:
        found += validate_signer_name("spec.signerName", signer)
    seconds = spec.get("expirationSeconds")
    if seconds is not None and seconds < 600:
        detail = "may not specify a duration less than 600 seconds (10 minutes)"
        found.append(fields.invalid("spec.expirationSeconds", seconds, detail))
    found += _validate_conditions(new, old)
    certificate = at(new, "status.certificate")
    if certificate and certificate != at(old, "status.certificate"):
        complaint = _certificate(certificate)
        if complaint:
            found.append(fields.invalid("status.certificate", "<certificate data>", complaint))
    return found


def _request(text: str | None) -> list[Cause]:
    try:
        check_signature(parse_request(text or ""))
    except RequestError as error:
        shown = fields.shown(text) if text else "null"
        return [Cause("spec.request", f"Invalid value: {shown}: {error}", "FieldValueInvalid")]
    return []


def _usages(usages: list[str], *, lenient: bool) -> list[Cause]:
    if not usages:
        return [fields.required("spec.usages")]
    if lenient:
        return []
    found = [fields.unsupported(f"spec.usages[{i}]", u, _USAGES) for i, u in enumerate(usages) if u not in _USAGES]
    return found + [fields.duplicate(f"spec.usages[{i}]", u) for i, u in enumerate(usages) if u in usages[:i]]


def validate_signer_name(field: str, signer: str) -> list[Cause]:
    """What is wrong with a signer's name (`example.com/signer`)."""
    if not signer:
        return [fields.required(field)]
    if signer.count("/") != 1:
        detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        return [fields.invalid(field, signer, detail)]
    domain, _, path = signer.partition("/")
    found: list[Cause] = []
    if len(domain) > _LONGEST_DOMAIN:
        found.append(fields.too_long(field, _LONGEST_DOMAIN))
    for part, check, value in ((domain, names.check_label, domain), (path, names.check_subdomain, path)):
        for label in part.split("."):
            complaints = check(label)
            found += [fields.invalid(field, value, f"validating label {fields.shown(label)}: {c}") for c in complaints]
            if complaints:
                break
        if part is domain and "." not in domain:
            detail = "should be a domain with at least two segments separated by dots"
            found.append(fields.invalid(field, domain, detail))
    if len(signer) > _LONGEST_SIGNER:
        found.append(fields.too_long(field, _LONGEST_SIGNER))
    return found


def _certificate(text: str) -> str:
    """What is wrong with an issued certificate (base64 of PEM), empty if nothing."""
    try:
        pem = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return "illegal base64 data"
    blocks = _PEM.findall(pem)
    if not blocks:
        return "must contain at least one CERTIFICATE PEM block"
    for kind, body in blocks:
        if kind != b"CERTIFICATE":
            return f"only CERTIFICATE PEM blocks are allowed, found {fields.shown(kind.decode(errors='replace'))}"
        if b":" in body:
            return "no PEM block headers are permitted"
        try:
            x509.load_der_x509_certificate(base64.b64decode(body))
        except ValueError as error:
            return f"x509: malformed certificate: {error}"
    return ""


# -- conditions -------------------------------------------------------------------------------------------------------


def _conditions(obj: Object) -> list[dict[str, Any]]:
    return at(obj, _CONDITIONS) or []


def _of_type(obj: Object, kind: str) -> list[dict[str, Any]]:
    return [c for c in _conditions(obj) if c.get("type") == kind]


def _validate_conditions(new: Object, old: Object) -> list[Cause]:
    found: list[Cause] = []
    seen: set[str] = set()
    lenient = bool(_of_type(old, "Approved") and _of_type(old, "Denied"))
    before = [c.get("type") for c in _conditions(old)]
    for index, condition in enumerate(_conditions(new)):
        here, kind = f"{_CONDITIONS}[{index}]", condition.get("type") or ""
        if not kind and "" not in before:
            found.append(fields.required(f"{here}.type"))
        status = condition.get("status") or ""
        allowed = ("True",) if kind in _FINAL else ("False", "True", "Unknown")
        if not status:
            found.append(fields.required(f"{here}.status"))
        elif status not in allowed:
            found.append(fields.unsupported(f"{here}.status", status, allowed))
        if not lenient and _OPPOSITE.get(kind) in seen:
            detail = "Approved and Denied conditions are mutually exclusive"
            found.append(fields.invalid(_CONDITIONS, kind, detail))
        if kind in seen and len(before) == len(set(before)):
            found.append(fields.duplicate(f"{here}.type", kind))
        seen.add(kind)
    return found


def _kept(new: Object, old: Object, kinds: tuple[str, ...]) -> list[Cause]:
    """Conditions may not go; those of `kinds` may neither come nor change."""
    found: list[Cause] = []
    for kind in _FINAL:
        if len(_of_type(new, kind)) < len(_of_type(old, kind)):
            found.append(fields.forbidden(_CONDITIONS, f'updates may not remove a condition of type "{kind}"'))
    for kind in kinds:
        fresh, stale = _of_type(new, kind), _of_type(old, kind)
        if len(fresh) > len(stale):
            found.append(fields.forbidden(_CONDITIONS, f'updates may not add a condition of type "{kind}"'))
        elif len(fresh) == len(stale) and fresh != stale:
            found.append(fields.forbidden(_CONDITIONS, f'updates may not modify a condition of type "{kind}"'))
    return found


def _stamp(new: Object, old: Object) -> None:
    """Fill in when conditions came and changed."""
    now = timestamp()
    for condition in _conditions(new):
        condition["lastUpdateTime"] = condition.get("lastUpdateTime") or now
        if not condition.get("lastTransitionTime"):
            same = (
                c["lastTransitionTime"]
                for c in _conditions(old)
                if (c.get("type"), c.get("status")) == (condition.get("type"), condition.get("status"))
                and c.get("lastTransitionTime")
            )
            condition["lastTransitionTime"] = next(same, now)


# -- the subresources -------------------------------------------------------------------------------------------------


def _update(new: Object, old: Object) -> None:
    """The specification never changes; the status is its subresources'."""
    new["spec"] = old.get("spec") or {}


def _validate_update(new: Object, old: Object) -> list[Cause]:
    return _validate(new, old) + _kept(new, old, ("Approved", "Denied"))


def _prepare_status(new: Object, old: Object) -> None:
    new["spec"] = old.get("spec") or {}
    for kind in ("Approved", "Denied"):
        fresh, stale = _of_type(new, kind), _of_type(old, kind)
        if len(fresh) == len(stale):
            for mine, former in zip(fresh, stale, strict=True):
                mine.clear()
                mine.update(former)
    _stamp(new, old)


def _validate_status(new: Object, old: Object) -> list[Cause]:
    found = _validate(new, old) + _kept(new, old, ("Approved", "Denied"))
    before = at(old, "status.certificate") or ""
    if before and (at(new, "status.certificate") or "") != before:
        found.append(fields.forbidden("status.certificate", "updates may not modify existing certificate content"))
    return found


def _prepare_approval(new: Object, old: Object) -> None:
    new["spec"] = old.get("spec") or {}
    _stamp(new, old)
    conditions = _conditions(new)
    new["status"] = {k: v for k, v in (old.get("status") or {}).items() if k != "conditions"}
    if conditions:
        new["status"]["conditions"] = conditions


def _validate_approval(new: Object, old: Object) -> list[Cause]:
    return _validate(new, old) + _kept(new, old, ())


def rules() -> dict[GVK, Rules]:
    """The rules of the kinds in this module."""
    return {
        GVK("certificates.k8s.io", "v1", "CertificateSigningRequest"): Rules(
            validate_create=_validate_create,
            validate_update=_validate_update,
            on_update=_update,
            check_name=lambda _: [],
            has_status=True,
            revalidates=True,
            parts={
                "status": Part(_prepare_status, _validate_status),
                "approval": Part(_prepare_approval, _validate_approval),
            },
            fields={"spec.signerName": "spec.signerName"},
        )
    }
