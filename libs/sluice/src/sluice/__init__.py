"""Contracts and adapters that Sluice's services share; knows no service."""

__version__ = "0.1.0"
