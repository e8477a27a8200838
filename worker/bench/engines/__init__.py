"""The worker's job in other streaming frameworks, around the same adapt and rank code."""
