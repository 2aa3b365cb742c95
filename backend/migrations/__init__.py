"""The database's history: one file in `versions/` per change, run by `upgrade` when the program starts."""
