"""The structured log: an allow-list of fields, ids only; no text of others is repeated."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

import orjson

OUR_LOGGERS = ("cds", "smart_app")
FIELDS = (
    "attempts",
    "ehr_id",
    "endpoint",
    "error_class",
    "error_id",
    "hook_instance",
    "is_clean",
    "job_id",
    "kind",
    "method",
    "ms",
    "n_threads",
    "place",
    "reason",
    "report_id",
    "silence_row",
    "state",
    "status",
)
# What these write at lower levels holds URLs with patient ids, or tokens (authlib: code_verifier).
TAMED = {
    "alembic": logging.WARNING,
    "authlib": logging.WARNING,
    "dicomweb_client": logging.ERROR,
    "huey": logging.WARNING,
    "joserfc": logging.WARNING,
    "pydicom": logging.ERROR,
    "requests": logging.WARNING,
    "sqlalchemy": logging.WARNING,
    "urllib3": logging.ERROR,
    "werkzeug": logging.ERROR,
}


class JsonFormatter(logging.Formatter):
    """Writes one JSON object per record; only fields of the allow-list, never arguments or traces.

    Our own records have constant messages. What a library says is not repeated: only who spoke,
    how loud, and where, so that no URL, token or name of a library's message reaches the log.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        is_ours = record.name.split(".")[0] in OUR_LOGGERS
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "event": record.msg if is_ours else "library-message",
        }
        if not is_ours:
            line["place"] = f"{record.module}:{record.lineno}"
        line |= {name: record.__dict__[name] for name in FIELDS if name in record.__dict__}
        if record.exc_info and record.exc_info[0] is not None:
            line["error_class"] = record.exc_info[0].__name__
        return orjson.dumps(line, default=str).decode()


def configure_logging(level: str) -> None:
    """Send the structured log to standard error and tame the libraries; safe to call again."""
    root = logging.getLogger()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root.handlers = [handler]
    root.setLevel(level.upper())
    tame_libraries()


def tame_libraries() -> None:
    """Silence the levels at which libraries write URLs and tokens."""
    for name, level in TAMED.items():
        logging.getLogger(name).setLevel(level)
