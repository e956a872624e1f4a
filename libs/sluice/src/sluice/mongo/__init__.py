"""MongoDB adapters of profiles, items, popularity, catalog and evidence: the truth that all machines share.

Needs neither transactions nor change streams. A write that depends on what is stored is a compare-and-set on what
was read, one update per document and batch; whoever comes second reads and folds again.
"""
