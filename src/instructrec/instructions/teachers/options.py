"""How a teacher is reached, what it may cost, and what decides its texts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator


class TeacherOptions(BaseModel):
    """Settings of teachers that are language models or files; ``rules`` needs none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: str | None = None
    """Of an OpenAI-compatible server; ``$OPENAI_BASE_URL``, else OpenAI's, when left out."""
    concurrency: int = Field(8, ge=1, le=1024)
    """Requests in flight at once."""
    requests_per_minute: float | None = Field(None, gt=0)
    """Requests sent in a minute."""
    timeout: float = Field(120.0, gt=0)
    """Seconds that one request may take."""
    budget: str | None = None
    """What one run may spend: ``5usd``, or tokens as ``2M``."""
    prices: Path | None = None
    """A price list instead of the package's."""
    language: str = "en"
    """Of the texts; one that prompts ship for."""
    prompts: Path | None = None
    """A file of prompts instead of the language's."""
    max_words: int | None = Field(None, ge=3)
    """Words a text has at most; as the prompts have it when none."""
    temperature: float | None = Field(None, ge=0)
    """As the server or the model has it when none."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    """Further fields of a request's body, such as ``{"reasoning_effort": "minimal"}``."""
    cache: Path | None = None
    """The folder of the answer cache; the user's cache folder when none."""
    answers_columns: str = ""
    """OURS=THEIRS,… for a file of texts."""

    @field_validator("budget", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        """A settings file may give tokens as a number."""
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return f"{value:g}" if value < 1e6 else str(int(value))
        return value
