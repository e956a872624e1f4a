"""What every test shares: deterministic property tests."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "sluice", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("sluice")
