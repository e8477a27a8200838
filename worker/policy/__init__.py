"""What lists are made of beyond the scores: what is left out, moved, spread out and tried."""
