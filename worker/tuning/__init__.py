"""Tuning the text encoder on what users act on together: low-rank updates, contrastive loss."""
