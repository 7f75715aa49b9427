"""Raw logs to a Dataset: readers, the made-up marketplace, splits."""
