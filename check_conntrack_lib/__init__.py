"""check_conntrack: one state for a Linux connection tracking table, and the cause behind it."""

__version__ = '0.1.0'
