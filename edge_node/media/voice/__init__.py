"""Tracks for programs that speak."""
