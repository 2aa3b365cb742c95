"""Measurements, not pass or fail: `python -m tests.bench [ONLY]`. Each prints one line of JSON per figure."""
