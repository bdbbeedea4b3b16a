"""Property tests that do not depend on how fast this machine is."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Decorates a test with @given."""
