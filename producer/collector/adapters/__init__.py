"""Vendors' payloads, mapped onto the canonical event: one module each."""
