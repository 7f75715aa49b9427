"""The server: HTTP, the store of events, items, keys and erasures, batches across requests."""
