"""Every setting of the product, read once from the environment."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from cds.domain.errors import CdsError, Reason


def _setting(env: str, default: Any, help_text: str, since: str = "0.1") -> Any:  # noqa: ANN401  # dataclasses.field is untyped here
    return field(default=default, metadata={"env": env, "help": help_text, "since": since})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The installation's settings; each field names its environment variable in its metadata."""

    state_dir: Path = _setting(
        "PRECEDENT_STATE_DIR",
        Path(".state/precedent"),
        "Folder for the database, blobs, index generations and keys.",
    )
    database_url: str = _setting(
        "PRECEDENT_DATABASE_URL",
        "",
        "SQLAlchemy URL; empty means SQLite (WAL) inside the state folder.",
    )
    blob_url: str = _setting(
        "PRECEDENT_BLOB_URL",
        "",
        "fsspec URL of the blob store; empty means a folder inside the state folder.",
    )
    key_file: Path | None = _setting(
        "PRECEDENT_KEY_FILE",
        None,
        "File with the installation's master key; empty means key.json inside the state folder.",
    )
    encoder_dir: Path | None = _setting(
        "PRECEDENT_ENCODER_DIR",
        None,
        "Folder of the image encoder that a new installation begins with; empty: the shipped one.",
    )
    model_hub: str = _setting(
        "PRECEDENT_MODEL_HUB",
        "",
        "Origins that encoders may be downloaded from by an administrator, comma-separated, the "
        "hub first; empty: none.",
    )
    model_hub_networks: str = _setting(
        "PRECEDENT_MODEL_HUB_NETWORKS",
        "",
        "Private networks (CIDR, comma-separated) that those origins may resolve to.",
    )
    public_url: str = _setting(
        "PRECEDENT_PUBLIC_URL",
        "http://127.0.0.1:8000",
        "Base URL as seen from outside the proxy; JWT audiences are checked against it.",
    )
    library_name: str = _setting(
        "PRECEDENT_LIBRARY_NAME",
        "this installation's library",
        "What pages and reports call the case library.",
    )
    image_weight: float = _setting(
        "PRECEDENT_IMAGE_WEIGHT",
        0.6,
        "Weight of the image block in the fused similarity, 0 to 1.",
    )
    cutoff: int = _setting(
        "PRECEDENT_CUTOFF",
        31,
        "How many distinct past patients an answer counts at most.",
    )
    hook_deadline_ms: int = _setting(
        "PRECEDENT_HOOK_DEADLINE_MS",
        450,
        "Time within which a CDS Hooks call is answered, in milliseconds.",
    )
    image_module: bool = _setting(
        "PRECEDENT_IMAGE_MODULE",
        True,
        "Off: pictures are never fetched or compared; the record module still works.",
    )
    development: bool = _setting(
        "PRECEDENT_DEVELOPMENT",
        False,
        "Allows http and loopback peers; the server then refuses any non-loopback bind.",
    )
    ca_file: Path | None = _setting(
        "PRECEDENT_CA_FILE",
        None,
        "PEM file with the hospital's root certificates; empty means the public ones.",
    )
    queue_url: str = _setting(
        "PRECEDENT_QUEUE_URL",
        "",
        "Redis URL of the queue of background jobs; empty means a file inside the state folder.",
    )
    queue_limit: int = _setting(
        "PRECEDENT_QUEUE_LIMIT",
        2_000,
        "How many background jobs may be open; bulk work may fill half of them.",
    )
    worker_threads: int = _setting(
        "PRECEDENT_WORKER_THREADS",
        2,
        "Background jobs that one worker runs at a time; bulk work gets all but one.",
    )
    precomputed_hours: int = _setting(
        "PRECEDENT_PRECOMPUTED_HOURS",
        72,
        "After so many hours an analysis that nobody asked for and nobody opened is deleted.",
    )
    storage_encrypted: str = _setting(
        "PRECEDENT_STORAGE_ENCRYPTED",
        "",
        "Who attests that the state folder lies on an encrypted volume: attested,NAME,YYYY-MM-DD.",
    )
    log_level: str = _setting("PRECEDENT_LOG_LEVEL", "INFO", "Level of the structured log.")

    @property
    def effective_database_url(self) -> str:
        """Return the SQLAlchemy URL in force."""
        return self.database_url or f"sqlite:///{self.state_dir.resolve() / 'precedent.db'}"

    @property
    def effective_key_file(self) -> Path:
        """Return the master key file in force."""
        return self.key_file or self.state_dir / "key.json"


def settings_from_environment(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings.

    Parameters
    ----------
    environment
        Mapping to read; None means the process environment.

    Raises
    ------
    CdsError
        INVALID_CONFIGURATION naming the variable, if a value cannot be read or used. An unknown
        ``PRECEDENT_*`` variable other than PRECEDENT_SHARED is refused as well: a misspelt setting
        must not silently leave its default in force.

    Examples
    --------
    >>> settings_from_environment({"PRECEDENT_HOOK_DEADLINE_MS": "300"}).hook_deadline_ms
    300

    """
    source = process_environment() if environment is None else environment
    known = {f.metadata["env"]: f for f in fields(Settings)}
    unknown = unknown_variables(source)
    if unknown:
        raise CdsError(
            Reason.INVALID_CONFIGURATION,
            f"There is no setting {unknown[0]}; see docs/configuration.md.",
        )
    values: dict[str, Any] = {}
    for env, f in known.items():
        text = source.get(env, "").strip()
        if text:
            values[f.name] = _parse(env, str(f.type), text)
            _refuse_out_of_range(env, f.name, values[f.name])
    return Settings(**values)


def process_environment() -> Mapping[str, str]:
    """Return the variables of this process; this module alone reads them."""
    return os.environ


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Return the variables that are named like settings and are none."""
    known = {f.metadata["env"] for f in fields(Settings)} | _NOT_OURS
    return sorted(k for k in environment if k.startswith("PRECEDENT_") and k not in known)


_NOT_OURS = frozenset(
    {"PRECEDENT_SHARED", "PRECEDENT_ARTIFACTS"}
)  # read by tests and the demo only


_TYPE_WORDS = {"bool": "true or false", "int": "a whole number", "float": "a number"}


def _parse(env: str, type_name: str, text: str) -> Any:  # noqa: ANN401  # one of the setting types
    try:
        if type_name == "bool":
            return {
                "true": True,
                "1": True,
                "yes": True,
                "false": False,
                "0": False,
                "no": False,
            }[text.lower()]
        if type_name == "int":
            return int(text)
        if type_name == "float":
            return float(text)
    except (KeyError, ValueError):
        raise CdsError(
            Reason.INVALID_CONFIGURATION, f"{env} has to be {_TYPE_WORDS[type_name]}."
        ) from None
    return Path(text) if type_name.startswith("Path") else text


_RANGES: Mapping[str, tuple[float, float]] = {
    "image_weight": (0, 1),
    "cutoff": (1, math.inf),
    "hook_deadline_ms": (1, math.inf),
    "queue_limit": (1, math.inf),
    "worker_threads": (1, math.inf),
    "precomputed_hours": (0, math.inf),
}
_LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def _refuse_out_of_range(env: str, name: str, value: Any) -> None:  # noqa: ANN401  # as `_parse`
    if name == "log_level" and value.upper() not in _LOG_LEVELS:
        raise CdsError(
            Reason.INVALID_CONFIGURATION, f"{env} has to be one of {', '.join(_LOG_LEVELS)}."
        )
    if name in _RANGES:
        lowest, highest = _RANGES[name]
        if not lowest <= value <= highest:
            limit = f"{lowest} or more" if highest == math.inf else f"{lowest} to {highest}"
            raise CdsError(Reason.INVALID_CONFIGURATION, f"{env} has to be {limit}.")
