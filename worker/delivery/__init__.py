"""How results and offsets reach the brokers: at least once, or exactly once by transactions."""
