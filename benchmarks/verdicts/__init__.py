"""Verdict replay: can the check be trusted to warn before packets are lost, and to wake nobody for nothing?

    python3 -m benchmarks.verdicts [--days N] [--scenario NAME] [--seed N] [--seeds N] [--unprivileged]
                                   [--verbose]

Traffic models drive simulated tables (`table`, `scenarios`, `world`) through the project's own recorder, evaluation and
contexts, on a simulated clock, by a scheduler with Icinga's rules (`scheduler`: check_interval 1m, retry_interval 15s,
max_check_attempts 3). What is in use today judges the same course of things: 80/90 % of usage alone, and a delta of
`drop` since the last run. The same seed gives the same figures. About a minute and a half; `tests/test_verdicts.py` has
the short scenarios.

lead: from the first soft and hard alert to the first packet lost (`-`: no loss or no alert; negative: too late).
missed: episodes of loss (ten minutes without end one) without a hard alert; false: hard alerts without trouble; flaps:
hard alerts that came again in the same trouble, without a new episode; recovery: from the last packet lost to OK.
Targets: 10 minutes of lead where filling up takes an hour or more, each episode hard, no false alert, at most one flap.
Losses by clashes (dns races) are no episode: the design calls a trickle of them normal.

A target that today's defaults are known to miss stands in `known` of its scenario; any other is exit status 1. The
figures, and what they changed: benchmarks/README.md.
"""
