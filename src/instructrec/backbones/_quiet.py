"""Keeps transformers from writing to the terminal while it reads and writes checkpoints."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from logging import ERROR


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and no warnings inside; whatever went before holds again afterwards."""
    from huggingface_hub.utils import logging as hub
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    hub_level = hub.get_verbosity()
    logging.set_verbosity_error()
    hub.set_verbosity(ERROR)  # else each try to reach it is a line of its own
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        hub.set_verbosity(hub_level)
        if bars:
            logging.enable_progress_bar()
