"""The history: one SQLite file of samples and profiles, written by the check, read by both commands."""
