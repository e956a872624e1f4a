"""Adapters on Redis: routing, and caches of what MongoDB holds. Everything here can be rebuilt.

Keys begin with ``sluice:``; one Redis (with its replicas), not a Redis Cluster.
"""
