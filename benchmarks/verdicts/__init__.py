"""Verdict replay."""
