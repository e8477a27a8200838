"""What users ask for about their own data, carried out: docs/privacy.md."""
