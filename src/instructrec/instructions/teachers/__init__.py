"""Who writes preferences and intentions."""
