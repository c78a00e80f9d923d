"""The conversion of a definition: None, or a webhook (only its fields are looked at here)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.kubernetes.apiserver.custom.causes import invalid_json

Spec = Mapping[str, Any]
_PATH = "spec.conversion"
_REVIEWS = ("v1", "v1beta1")
_URL_FORM = "desired format: https://host[/path]"


def validate(conversion: Spec | None) -> Iterator[Cause]:
    """What is wrong with `spec.conversion`."""
    if conversion is None:
        return
    strategy = conversion.get("strategy") or ""
    if not strategy:
        yield fields.required(f"{_PATH}.strategy")
    elif strategy not in ("None", "Webhook"):
        yield fields.unsupported(f"{_PATH}.strategy", strategy, ("None", "Webhook"))
    webhook = conversion.get("webhook") or {}
    client, reviews = webhook.get("clientConfig"), webhook.get("conversionReviewVersions") or []
    where = f"{_PATH}.webhookClientConfig"
    if strategy != "Webhook":
        detail = "should not be set when strategy is not set to Webhook"
        if client is not None:
            yield fields.forbidden(where, detail)
        if reviews:
            yield fields.forbidden(f"{_PATH}.conversionReviewVersions", detail)
        return
    if client is None:
        yield fields.required(where, "required when strategy is set to Webhook")
    elif (client.get("url") is None) == (client.get("service") is None):
        yield fields.required(where, "exactly one of url or service is required")
    elif client.get("url") is not None:
        yield from _url(client["url"], f"{where}.url")
    else:
        yield from _service(client["service"], f"{where}.service")
    yield from _reviews(reviews, f"{_PATH}.conversionReviewVersions")


def _url(text: str, path: str) -> Iterator[Cause]:
    try:
        url = urlsplit(text)
        user = url.netloc.rpartition("@")[0]
    except ValueError as error:
        yield fields.required(path, f"url must be a valid URL: {error}; {_URL_FORM}")
        return
    if url.scheme != "https":
        yield fields.invalid(path, url.scheme, f"'https' is the only allowed URL scheme; {_URL_FORM}")
    if not url.netloc:
        yield fields.invalid(path, "", f"host must be specified; {_URL_FORM}")
    if user:
        yield fields.invalid(path, user, "user information is not permitted in the URL")
    if url.fragment:
        yield fields.invalid(path, url.fragment, "fragments are not permitted in the URL")
    if url.query:
        yield fields.invalid(path, url.query, "query parameters are not permitted in the URL")


def _service(service: Spec, path: str) -> Iterator[Cause]:
    for key, other in (("namespace", "name"), ("name", "namespace")):
        if not service.get(key):
            yield fields.required(f"{path}.{other}")  # Upstream says it of the other one.
    port = service.get("port")
    if port is not None and not 0 < port < 65536:
        yield fields.invalid(f"{path}.port", port, "port is not valid: must be between 1 and 65535, inclusive")
    text = service.get("path")
    if not text or text == "/":
        return
    at = f"{path}.path"
    if not text.startswith("/"):
        yield fields.invalid(at, text, "must start with a '/'")
    steps = text[1:].removesuffix("/").split("/")
    for index, step in enumerate(steps):
        if not step:
            yield fields.invalid(at, text, f"segment[{index}] may not be empty")
        elif wrong := names.check_subdomain(step):
            yield fields.invalid(at, text, f"segment[{index}]: {wrong[0]}")


def _reviews(reviews: list[str], path: str) -> Iterator[Cause]:
    if not reviews:
        yield fields.required(path)
        return
    seen: set[str] = set()
    for index, version in enumerate(reviews):
        if version in seen:
            yield fields.invalid(f"{path}[{index}]", version, "duplicate version")
            continue
        seen.add(version)
        yield from fields.each(f"{path}[{index}]", version, names.check_label_1035(version))
    if not seen & set(_REVIEWS):
        yield invalid_json(path, reviews, f"must include at least one of {', '.join(_REVIEWS)}")
