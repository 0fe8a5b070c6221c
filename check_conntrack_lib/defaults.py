"""Thresholds and durations that more than one module uses. Percent of nf_conntrack_max; seconds."""

from __future__ import annotations

#: usage at which the check is WARNING and CRITICAL (-w, -c)
WARNING, CRITICAL = 85.0, 95.0
#: a crossed usage threshold clears this many points of percent lower (--clear)
CLEAR = 5.0
#: usage from which growth is WARNING (--trend), and how far ahead it is projected (--horizon): what needs longer than
#: these 20 minutes to the critical threshold crosses the warning threshold half an hour before the table is full
TREND, HORIZON = 70.0, 1200.0
#: what rates and 'table full' messages are counted over (--window)
WINDOW = 300.0
#: seconds
DAY = 86400.0
#: seconds that a run waits at most for others that are writing the history
PATIENCE = 1.5
#: the same for a command that only reads it
READING_PATIENCE = 5.0
#: entries that are read for a sample of the table (--sample): shares of it are right to 1.1 points; whatever is counted
#: of flows one by one is counted of so many
SAMPLE = 20_000
