"""The dead-letter topic: looking at what is in it, and putting records back."""
