"""Tests that load and unload modules and fill the initial namespace: only in a guest of benchmarks/kernels.py."""

import os

if not os.environ.get('CHECK_CONNTRACK_GUEST'):
    collect_ignore_glob = ['test_*.py']
