"""The query parameters of logs, exec, attach and port-forward: checked, and as the node wants them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlencode

from kumo.api.errors import Cause, bad_request, invalid
from kumo.api.objects import parse_timestamp

Pairs = Sequence[tuple[str, str]]


def truth(query: dict[str, str], name: str, default: bool = False) -> bool:
    """A boolean parameter; present without value counts as true (as upstream's conversion)."""
    return query[name].lower() in ("1", "true", "t", "") if name in query else default


def log_query(pod: str, query: dict[str, str]) -> str:
    """The node's query for a log. Raises 422 for values that contradict PodLogOptions' rules, 400 for no numbers."""
    numbers: dict[str, int] = {}
    for name in ("tailLines", "sinceSeconds", "limitBytes"):
        if query.get(name):
            try:
                numbers[name] = int(query[name])
            except ValueError:
                raise bad_request(f'strconv.ParseInt: parsing "{query[name]}": invalid syntax') from None
    causes = []
    if numbers.get("tailLines", 0) < 0:
        causes.append(Cause("tailLines", f"Invalid value: {numbers['tailLines']}: must be greater than or equal to 0"))
    if numbers.get("limitBytes", 1) < 1:
        causes.append(Cause("limitBytes", f"Invalid value: {numbers['limitBytes']}: must be greater than 0"))
    if "sinceSeconds" in numbers and query.get("sinceTime"):
        causes.append(
            Cause(
                "sinceSeconds",
                "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified",
                "FieldValueForbidden",
            )
        )
    elif numbers.get("sinceSeconds", 1) < 1:
        causes.append(Cause("sinceSeconds", f"Invalid value: {numbers['sinceSeconds']}: must be greater than 0"))
    if query.get("sinceTime"):
        try:
            parse_timestamp(query["sinceTime"])
        except ValueError:
            raise bad_request(f'parsing time "{query["sinceTime"]}" as RFC 3339 failed') from None
    stream = query.get("stream") or "All"
    if stream not in ("All", "Stdout", "Stderr"):
        text = f'Unsupported value: "{stream}": supported values: "All", "Stderr", "Stdout"'
        causes.append(Cause("stream", text, "FieldValueNotSupported"))
    elif stream != "All" and "tailLines" in numbers:
        why = "Forbidden: `tailLines` and specific `stream` are mutually exclusive for now"
        causes.append(Cause("tailLines", why, "FieldValueForbidden"))
    if causes:
        raise invalid("", "PodLogOptions", pod, causes)
    sent = [(name, str(value)) for name, value in numbers.items()]
    sent += [(name, "true") for name in ("follow", "previous", "timestamps") if truth(query, name)]
    sent += [("sinceTime", query["sinceTime"])] if query.get("sinceTime") else []
    sent += [("stream", stream)] if stream != "All" else []
    return urlencode(sent)


def stream_query(pairs: Pairs, *, command: bool) -> str:
    """The node's query for exec (with `command`) or attach. Raises 400 when no stream or no command is asked for."""
    query = dict(pairs)
    wanted = {
        "input": truth(query, "stdin"),
        "output": truth(query, "stdout"),
        "error": truth(query, "stderr"),
        "tty": truth(query, "tty"),
    }
    if wanted["tty"] and wanted["error"]:
        wanted["error"] = False
    if not (wanted["input"] or wanted["output"] or wanted["error"]):
        raise bad_request("you must specify at least 1 of stdin, stdout, stderr")
    commands = [value for name, value in pairs if name == "command"]
    if command and not commands:
        raise bad_request("you must specify at least one command for the container")
    sent = [("command", c) for c in commands] if command else []
    sent += [(name, "1") for name, on in wanted.items() if on]
    return urlencode(sent)


def ports_of(pairs: Pairs) -> list[int]:
    """The ports that a `v4.channel.k8s.io` port-forward names. Raises 400 for none, or for what is no port."""
    found = []
    for name, value in pairs:
        if name in ("ports", "port"):
            for text in value.split(","):
                if not text.isdigit() or not 0 < int(text) < 65536:
                    raise bad_request(f'port "{text}" must be a number between 1 and 65535')
                found.append(int(text))
    if not found:
        raise bad_request('query parameter "port" is required')
    return found
