"""Users' adapted state: in memory, and in the compacted `user-state` changelog."""
