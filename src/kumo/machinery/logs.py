"""Logging: structlog everywhere, readable on a terminal, one JSON object a line elsewhere.

Exceptions are logged with their plain trace and never with local variables: those may hold tokens. Levels are filtered
before anything is built, so a debug line that nobody wants costs a function call.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import IO, Any

import msgspec
import structlog

Processor = Callable[[Any, str, MutableMapping[str, Any]], Any]

_encode = msgspec.json.Encoder(enc_hook=str).encode
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def _json_line(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
    return _encode(dict(event)).decode()


def _with_name(logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    name = getattr(logger, "name", "")
    if name:
        event["logger"] = name
    return event


class _Sink:
    """A structlog logger that writes whole lines to a file object. `name` is what `structlog.get_logger` was given."""

    def __init__(self, file: IO[str], name: str = "") -> None:
        self.name = name
        self._file = file

    def msg(self, line: str) -> None:
        """Write one line, or lose it: a full disk under the log must not keep anybody from their work."""
        with contextlib.suppress(OSError):
            self._file.write(line + "\n")
            self._file.flush()

    debug = info = warning = warn = error = critical = exception = fatal = failure = log = msg


class _Bridge(logging.Handler):
    """Takes what libraries log through the standard library into structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record as an event of the logger that made it."""
        log = structlog.get_logger(record.name)
        level = "error" if record.levelno >= logging.ERROR else "warning"
        getattr(log, level)(record.getMessage(), exc_info=record.exc_info)


def set_up(
    *, level: str = "info", path: str | Path = "", human: bool | None = None, stream: IO[str] | None = None
) -> Callable[[], None]:
    """Send every log to the file `path` (appended), or to `stream` (stderr by default).

    `human` chooses the readable form; by default it is chosen when the stream is a terminal. Libraries that use the
    standard library's logging are heard from warnings on. The result closes the file (nothing may be logged after).
    """
    file = Path(path).open("a", encoding="utf-8") if path else stream or sys.stderr  # noqa: SIM115
    if human is None:
        human = not path and file.isatty()
    renderer: Processor
    if human:
        renderer = structlog.dev.ConsoleRenderer(
            colors=file.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        trace: list[Processor] = []
    else:
        renderer, trace = _json_line, [structlog.processors.format_exc_info]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _with_name,
            structlog.processors.TimeStamper(fmt="iso", utc=not human),
            *trace,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=lambda *names: _Sink(file, names[0] if names else ""),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers[:] = [_Bridge()]
    root.setLevel(logging.WARNING)
    # A client that offers a subprotocol which its path does not have is the path's business, not worth a warning.
    logging.getLogger("aiohttp.websocket").setLevel(logging.ERROR)
    return file.close if path else file.flush
