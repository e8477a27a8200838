"""The stages of a micro-batch: poll, decode, fold, encode, adapt, rank, publish, commit.

Each is a module with a small contract. Records go in one by one up to `decode`; from there a batch
is a handful of columns, one entry an event, in the order in which the events were polled.
"""
