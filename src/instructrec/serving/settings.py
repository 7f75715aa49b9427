"""Settings of the server, from flags, the environment and a TOML file, in this order."""

from __future__ import annotations

import ipaddress
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from instructrec.errors import UsageError

PREFIX = "INSTRUCTREC_"
STATE = "state"
"""The sub-folder of a run for what the server writes; no manifest knows it."""


class ServeConfig(BaseModel):
    """How a run is served."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(default="127.0.0.1", min_length=1)
    """The address to listen at; beyond the loopback keys are required."""
    port: int = Field(default=8000, ge=0, le=65535)
    """The port; 0 for any that is free."""
    database: str | None = None
    """URL of the store; SQLite in the run's folder ``state`` when left out."""
    keys: bool | None = None
    """Whether API keys are required; when left out, as soon as it listens beyond the loopback."""
    admin_key: SecretStr | None = None
    """One more key for administration, beside those of the store; 20 letters at least."""
    device: str = "auto"
    """Where the language model computes."""
    candidates: int = Field(default=100, ge=1, le=10_000)
    """Candidates that are ranked for a request."""
    batch: int = Field(default=16, ge=1, le=1024)
    """Requests that are scored together at most."""
    gather_ms: float = Field(default=3.0, ge=0, le=1000)
    """How long the first request of a batch waits for others."""
    queue: int = Field(default=64, ge=1, le=100_000)
    """Requests that may wait; past it the answer is 503 at once."""
    deadline_ms: int = Field(default=1000, ge=1, le=600_000)
    """After so long a request is answered without the language model."""
    max_body: int = Field(default=2**20, ge=1024)
    """Bytes of a request at most."""
    body_seconds: float = Field(default=10.0, gt=0)
    """How long a client may take to send a request."""
    stop_seconds: int = Field(default=20, ge=1)
    """How long requests in flight may take when the server stops."""

    @property
    def needs_keys(self) -> bool:
        """Whether every request must bring a key."""
        return not is_loopback(self.host) if self.keys is None else self.keys

    def store_url(self, run: Path) -> str:
        """The URL of the store."""
        return self.database or f"sqlite:///{run.absolute() / STATE / 'store.sqlite'}"


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_settings(
    flags: Mapping[str, Any], file: Path | None = None, environment: Mapping[str, str] = os.environ
) -> ServeConfig:
    """Settings from flags, then the environment (``INSTRUCTREC_PORT``), then a TOML file.

    Args:
        flags: By name; one that is None was not given.
        file: A TOML file of settings by name.
        environment: Variables by name.

    Raises:
        UsageError: A setting is unknown or refused; where it stands is named, never a secret.
    """
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    named = {
        name: environment[variable]
        for name in ServeConfig.model_fields
        if (variable := PREFIX + name.upper()) in environment
    }
    given = {name: value for name, value in flags.items() if value is not None}
    sources = (
        (_from_toml(file), lambda name: f"{file}, {name}"),
        (named, lambda name: PREFIX + name.upper()),
        (given, lambda name: "--" + name.replace("_", "-")),
    )
    for found, place in sources:
        values |= found
        places |= {name: place(name) for name in found}
    try:
        config = ServeConfig(**values)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        known = ", ".join(ServeConfig.model_fields)
        cure = f"Use one of {known}" if first["type"] == "extra_forbidden" else "Mend it"
        raise UsageError(f"{places.get(name, name)}: {first['msg']}", cure) from None
    secret = config.admin_key
    if secret is not None and len(secret.get_secret_value()) < 20:
        raise UsageError(
            f"{places['admin_key']} is too short to be safe", "Take 20 letters at least"
        )
    if config.keys is False and not is_loopback(config.host):
        raise UsageError(
            f"{places['keys']}: {config.host} can be reached from elsewhere, so keys are required",
            "Leave it out, or listen at 127.0.0.1",
        )
    return config


def _from_toml(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"there is no file {file}", "Check --config") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UsageError(
            f"{file} is no TOML ({error})", "Write lines such as port = 8000"
        ) from None
