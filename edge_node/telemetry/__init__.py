"""Measurements: the sample, when it is due, where it waits."""
