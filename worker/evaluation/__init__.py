"""The prequential protocol: the inner loop and its rivals on the same stream."""
