"""How the API server is operated: limits, audit and encryption by `kumo up`'s options, kept in the data directory."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kumo.cli.instance import Instance, InstanceError

if TYPE_CHECKING:
    from kumo.kubernetes.apiserver.operation_config import OperationConfig

FILE = "operation.json"
ENCRYPTION = "encryption.yaml"
"""In `pki/`: the configuration that `--encrypt-secrets` makes."""
NONE = "none"
"""What is given instead of a path to stop what was remembered."""
_Command = TypeVar("_Command", bound=Callable[..., Any])
_PATHS = ("audit_policy_file", "audit_webhook_config_file", "encryption_provider_config")
_LOG_PATH = "audit_log_path"
_NUMBERS = {
    "audit_log_maxsize": "Megabytes of the audit log before it is set aside.  [default: 100]",
    "audit_log_maxbackup": "Audit logs set aside that are kept.  [default: all]",
    "audit_log_maxage": "Days that they are kept.  [default: for ever]",
    "max_requests_inflight": "Requests in progress that only read.  [default: 400]",
    "max_mutating_requests_inflight": "Requests in progress that change something.  [default: 200]",
    "request_timeout": "Seconds that a request may take.  [default: 60]",
    "shutdown_delay": "Seconds that the API server goes on while it already says it is not ready.  [default: 0]",
}
_CONFIGURATION = """\
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers:
  - secretbox:
      keys:
      - name: key1
        secret: {secret}
  - identity: {{}}
"""
_KEYS = (*_PATHS, _LOG_PATH, *_NUMBERS, "priority_and_fairness")


def options(command: _Command) -> _Command:
    """The options of `kumo up` about the API server's operation; they are remembered from start to start."""
    whole = click.IntRange(0, 1_000_000)
    added = [
        click.option("--audit-policy-file", help="What is written down: a file of kind Policy; none to stop."),
        click.option("--audit-log-path", help="Where events go; - for the log.  [default: logs/audit.log]"),
        click.option("--audit-webhook-config-file", help="Send events too: a kubeconfig; none to stop."),
        click.option("--encryption-provider-config", help="A file of kind EncryptionConfiguration; none to stop."),
        click.option("--encrypt-secrets", is_flag=True, help="Encrypt Secrets in the store, with a key made for it."),
        *(click.option(f"--{name.replace('_', '-')}", type=whole, help=text) for name, text in _NUMBERS.items()),
        click.option(
            "--priority-and-fairness/--no-priority-and-fairness",
            default=None,
            help="Whether flow schemas and priority levels decide who goes first.  [default: they do]",
        ),
    ]
    for option in reversed(added):
        command = option(command)
    return command


def keep(root: Path, given: dict[str, Any]) -> None:
    """Check and remember what the options say; the others stay as they were. Raises InstanceError."""
    known = _remembered(root)
    fresh = dict(known)
    for name in _KEYS:
        value = given[name]
        if value is None:
            continue
        if name in _PATHS or (name == _LOG_PATH and value != "-"):
            value = "" if value == NONE else str(Path(value).absolute())
        fresh[name] = value
    if given["encrypt_secrets"]:
        if given["encryption_provider_config"]:
            raise InstanceError("--encrypt-secrets and --encryption-provider-config can't both be given")
        fresh["encryption_provider_config"] = str(_own_configuration(root))
    if fresh == known:
        return
    _check(_config(root, fresh))
    _remember(root, fresh)


def use_encryption(root: Path, file: Path | None) -> None:
    """Remember that this file of kind EncryptionConfiguration is the one to use, or that there is none."""
    _remember(root, {**_remembered(root), "encryption_provider_config": str(file) if file is not None else ""})


def _remember(root: Path, fresh: dict[str, Any]) -> None:
    root.mkdir(parents=True, exist_ok=True, mode=0o755)
    path = root / f"{FILE}.new"
    path.write_text(json.dumps(fresh, indent=2) + "\n")
    path.chmod(0o600)
    path.replace(root / FILE)


def operation(instance: Instance) -> OperationConfig:
    """How the instance's API server is operated. Raises InstanceError."""
    return _config(instance.root, _remembered(instance.root))


def _remembered(root: Path) -> dict[str, Any]:
    path = root / FILE
    try:
        found = json.loads(path.read_text())
        if not isinstance(found, dict) or not set(found) <= set(_KEYS):
            raise ValueError("not what kumo up writes")
        return found
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InstanceError(f"{path} can't be read: {error}. To fix it: remove it and give the options anew") from error


def _config(root: Path, known: dict[str, Any]) -> OperationConfig:
    from kumo.kubernetes.apiserver.audit.config import AuditConfig
    from kumo.kubernetes.apiserver.operation_config import OperationConfig

    audit = None
    webhook, encryption = known.get("audit_webhook_config_file"), known.get("encryption_provider_config")
    if known.get("audit_policy_file"):
        default = "" if webhook else str(root / "logs" / "audit.log")
        audit = AuditConfig(
            policy=Path(known["audit_policy_file"]),
            log_path=known.get(_LOG_PATH) or default,
            log_max_size=known.get("audit_log_maxsize") or 0,
            log_max_backups=known.get("audit_log_maxbackup") or 0,
            log_max_age=known.get("audit_log_maxage") or 0,
            webhook=Path(webhook) if webhook else None,
        )
    elif webhook or known.get(_LOG_PATH):
        raise InstanceError("--audit-log-path and --audit-webhook-config-file need --audit-policy-file too")
    return OperationConfig(
        max_requests_inflight=known.get("max_requests_inflight", 400),
        max_mutating_requests_inflight=known.get("max_mutating_requests_inflight", 200),
        priority_and_fairness=known.get("priority_and_fairness", True),
        request_timeout=float(known.get("request_timeout") or 60),
        shutdown_delay=float(known.get("shutdown_delay") or 0),
        audit=audit,
        encryption=Path(encryption) if encryption else None,
    )


def _check(config: OperationConfig) -> None:
    """Raise InstanceError for files that can't be used, before anything is started with them."""
    if config.audit is not None:
        from kumo.kubernetes.apiserver.audit import AuditError
        from kumo.kubernetes.apiserver.audit.policy import load_policy
        from kumo.machinery import kubeconfig

        try:
            load_policy(config.audit.policy)
            if config.audit.webhook is not None:
                kubeconfig.read(config.audit.webhook)
        except (AuditError, kubeconfig.KubeconfigError) as error:
            raise InstanceError(str(error)) from error
    if config.encryption is not None:
        from kumo.kubernetes.apiserver.encryption import EncryptionError
        from kumo.kubernetes.apiserver.encryption.configuration import load

        try:
            load(config.encryption)
        except EncryptionError as error:
            raise InstanceError(str(error)) from error


def _own_configuration(root: Path) -> Path:
    """`pki/encryption.yaml`, with a fresh key if there is none: Secrets are encrypted, older ones still read."""
    from kumo.machinery.files import write_file

    path = root / "pki" / ENCRYPTION
    if not path.exists():
        secret = base64.b64encode(os.urandom(32)).decode()
        text = _CONFIGURATION.format(secret=secret)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_file(path, text.encode())
    return path
