"""check_conntrack: one verdict on a Linux connection tracking table, and the reason behind it."""

__version__ = '0.1.0'
