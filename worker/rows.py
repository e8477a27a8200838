"""Items go by row in every array; this is the row of none."""

NO_ITEM = -1
"""Row of no item: the catalogue does not hold it, or the event tells nothing of it."""
