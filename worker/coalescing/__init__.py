"""Answering several events of a user at once, and no user too often."""
