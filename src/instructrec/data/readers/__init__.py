"""One module a format of raw logs."""
