"""Exact search for the largest inner products on a CPU: 8-bit codes first, float32 for the rest."""
