"""The sink into Redis: each user's latest recommendation, for teams that read by key."""
