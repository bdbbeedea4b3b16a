"""The wire protocol as values."""
