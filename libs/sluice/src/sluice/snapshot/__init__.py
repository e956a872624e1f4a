"""The snapshot: an immutable unit of parts, encoder and provenance.

``manifest`` says what a unit is; ``ids`` and ``parts`` are its files; ``writer`` makes one, ``verify``
checks one, ``unit`` maps and serves one.
"""
