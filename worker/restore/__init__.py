"""Users' states back from the changelog: what a worker does with partitions that it is given."""
