"""Embedded adapters: every port on SQLite in WAL mode, for one machine and no other software.

One database file per owner: ``log.db`` (event log), ``source-<name>.db`` (profiles, items, popularity),
``model-<key>.db`` (catalog, evidence, routing).
"""
