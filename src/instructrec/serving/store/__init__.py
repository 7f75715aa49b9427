"""What the server keeps: events, changed items, users, API keys, erasures, sessions."""

from instructrec.serving.store.engine import StoreError
from instructrec.serving.store.store import Event, Store, Taken, Written

__all__ = ["Event", "Store", "StoreError", "Taken", "Written"]
