"""Migrations in order. A released file is never changed; the next change is the next number."""
