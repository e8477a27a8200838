"""The adaptation model: item tower, session encoder, per-user fast weights and their inner loop."""
