"""Verdict replay: can the check be trusted to warn before packets are lost, and to wake nobody for nothing?

    python3 -m benchmarks.verdicts [--days N] [--scenario NAME] [--seed N] [--unprivileged] [--verbose]

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

Those that today's defaults miss, by what (`known` in `scenarios`; any other is exit status 1):
quiet: the trend, for a few minutes; noise of 2 % that lasts ten minutes is a slope over 15 minutes.
leak: the nights are below the line; a trend that comes and goes at its edge.
slow ramp: 17 % an hour is at the edge of the trend at 70 %; it comes and goes with the noise.
dns races: an unsolved clash counts in insert_failed, where a trickle is allowed, and in drop, where one is too many.
reboot, reload: the trend takes the table that fills anew for a ramp.
reboot in a blip: the counters and the log are gone; there was time for a soft state only.

Seed 1, 30 days:

                                 soft    hard  hard                     notifi-
                                 lead    lead alerts missed false flaps  cations recovery  targets missed
    quiet: 30 days, daily curve and noise up to 80 %; peak 77 %, 0 lost in 0 episodes, 0 evicted
      check_conntrack               -       -     0      0     2     0        2        -  false
      80/90 of usage                -       -     0      0     0     0        0        -  ok
      delta of drop                 -       -     0      0     0     0        0        -  ok
    leak: dead clients, 17 % of the table a day; peak 100 %, 234142 lost in 1 episodes, 281889 evicted
      check_conntrack           24.8h   24.8h     3      0     0     2       14     360s  flaps
      80/90 of usage            25.0h   25.0h     5      0     0     4        8      60s  flaps
      delta of drop              -30s    -12m    16      0     0    15       16       0s  lead, flaps
    leak of hours: 10 % of the table an hour; peak 100 %, 244061 lost in 1 episodes, 282683 evicted
      check_conntrack             91m     90m     1      0     0     0        2     330s  ok
      80/90 of usage             124m    123m     1      0     0     0        2      30s  ok
      delta of drop              -15s   -495s     1      0     0     0        1      60s  lead
    ramp: 40 to 115 % in an hour; peak 100 %, 67562 lost in 1 episodes, 1402215 evicted
      check_conntrack             23m     23m     1      0     0     0        2     360s  ok
      80/90 of usage              15m     15m     1      0     0     0        3     420s  ok
      delta of drop              -40s   -235s     1      0     0     0        1     105s  lead
    slow ramp: 40 to 110 % in four hours; peak 100 %, 136114 lost in 1 episodes, 3104538 evicted
      check_conntrack             98m     98m     3      0     0     2        5     370s  flaps
      80/90 of usage              68m     68m     2      0     0     1        4     460s  ok
      delta of drop              -55s   -250s     1      0     0     0        1     115s  lead
    burst: 30 %, four times that within three minutes; peak 100 %, 40803 lost in 1 episodes, 1008215 evicted
      check_conntrack             73s     43s     1      0     0     0        2     307s  ok
      80/90 of usage             133s    103s     1      0     0     0        3     127s  ok
      delta of drop              -47s    -77s     1      0     0     0        1      67s  ok
    syn flood: 6000/s for ten minutes; peak 100 %, 14 lost in 1 episodes, 3132026 evicted
      check_conntrack              1s    -29s     1      0     0     0        2     362s  ok
      80/90 of usage               1s    -29s     1      0     0     0        2     122s  ok
      delta of drop              -59s       -     0      1     0     0        0        -  missed
    udp scan: 10000/s unreplied for ten minutes; peak 100 %, 110 lost in 1 episodes, 5200719 evicted
      check_conntrack            -23s    -53s     1      0     0     0        1     307s  ok
      80/90 of usage             -23s    -53s     1      0     0     0        1      67s  ok
      delta of drop              -23s    -53s     1      0     0     0        1      67s  ok
    blip: full for some seconds between two checks; peak 100 %, 22918 lost in 1 episodes, 41443 evicted
      check_conntrack            -17s    -47s     1      0     0     0        1     341s  ok
      80/90 of usage                -       -     0      1     0     0        0        -  missed
      delta of drop              -17s       -     0      1     0     0        0        -  missed
    two blips: eight minutes from one to the next; peak 100 %, 50811 lost in 1 episodes, 86877 evicted
      check_conntrack            -49s    -79s     2      0     0     1        2     343s  ok
      80/90 of usage                -       -     0      1     0     0        0        -  missed
      delta of drop              -49s       -     0      1     0     0        0        -  missed
    dns races: 0.05/s insert_failed, lost (6.1); peak 41 %, 0 lost in 0 episodes, 0 evicted
      check_conntrack               -       -     0      0     1     0        1        -  false
      80/90 of usage                -       -     0      0     0     0        0        -  ok
      delta of drop                 -       -     0      0     8     0        8        -  false
    solved races: 3/s insert_failed, none lost (5.4); peak 41 %, 0 lost in 0 episodes, 0 evicted
      check_conntrack               -       -     0      0     0     0        0        -  ok
      80/90 of usage                -       -     0      0     0     0        0        -  ok
      delta of drop                 -       -     0      0     0     0        0        -  ok
    assured: full of assured connections for 90 minutes; peak 100 %, 4081296 lost in 1 episodes, 2560342 evicted
      check_conntrack             11m     10m     2      0     0     1        3      18m  ok
      80/90 of usage             530s    500s     1      0     0     0        2      35s  ok
      delta of drop              -10s   -115s     1      0     0     0        1     110s  ok
    few buckets: 16384 for 30 % of 262144 (5.15); peak 29 %, 106335 lost in 1 episodes, 0 evicted
      check_conntrack            -10s    -40s     1      0     0     0        3     330s  ok
      80/90 of usage                -       -     0      1     0     0        0        -  missed
      delta of drop                 -       -     0      1     0     0        0        -  missed
    reboot: at 74 %, and it fills again; peak 75 %, 0 lost in 0 episodes, 0 evicted
      check_conntrack               -       -     0      0     1     0        1        -  false
      80/90 of usage                -       -     0      0     0     0        0        -  ok
      delta of drop                 -       -     0      0     0     0        0        -  ok
    reload: the module anew at 74 %; peak 77 %, 0 lost in 0 episodes, 0 evicted
      check_conntrack               -       -     0      0     1     0        1        -  false
      80/90 of usage                -       -     0      0     0     0        0        -  ok
      delta of drop                 -       -     0      0     0     0        0        -  ok
    reboot in a blip: losses, then a reboot a minute later; peak 100 %, 27234 lost in 1 episodes, 0 evicted
      check_conntrack            -52s       -     0      1     0     0        0        -  missed
      80/90 of usage                -       -     0      1     0     0        0        -  missed
      delta of drop              -52s       -     0      1     0     0        0        -  missed
    wrap: counters about to wrap, then a blip; peak 100 %, 28183 lost in 1 episodes, 41392 evicted
      check_conntrack            -31s    -61s     1      0     0     0        1     355s  ok
      80/90 of usage                -       -     0      1     0     0        0        -  missed
      delta of drop                 -       -     0      1     0     0        0        -  missed
    suspended: for two hours, a blip 20 minutes later; peak 100 %, 27308 lost in 1 episodes, 45156 evicted
      check_conntrack            -20s    -50s     1      0     0     0        1     344s  ok
      80/90 of usage                -       -     0      1     0     0        0        -  missed
      delta of drop              -20s       -     0      1     0     0        0        -  missed
    container: one fills in an hour, the host is idle (6.18); peak 100 %, 39202 lost in 1 episodes, 927769 evicted
      check_conntrack             18m     17m     1      0     0     0        2     360s  ok
      80/90 of usage                -       -     0      1     0     0        0        -  lead, missed
      delta of drop                 -       -     0      1     0     0        0        -  lead, missed
    missed checks: a blip in 20 minutes without checks; peak 100 %, 25308 lost in 1 episodes, 43784 evicted
      check_conntrack            -15m    -15m     1      0     0     0        1      20m  ok
      80/90 of usage                -       -     0      1     0     0        0        -  missed
      delta of drop              -15m       -     0      1     0     0        0        -  missed
    5m, blip: checked every five minutes; peak 100 %, 25627 lost in 1 episodes, 44335 evicted
      check_conntrack            -35s    -65s     1      0     0     0        1     359s  ok
      80/90 of usage                -       -     0      1     0     0        0        -  missed
      delta of drop              -35s       -     0      1     0     0        0        -  missed
    5m, ramp: checked every five minutes; peak 100 %, 85862 lost in 1 episodes, 1639547 evicted
      check_conntrack             22m     21m     1      0     0     0        2     385s  ok
      80/90 of usage              17m     16m     1      0     0     0        2     385s  ok
      delta of drop             -195s   -225s     1      0     0     0        1     385s  lead
    by hand: a blip, and a run by hand every 11 s; peak 100 %, 29406 lost in 1 episodes, 46506 evicted
      check_conntrack            -20s    -50s     1      0     0     0        1     344s  ok
      80/90 of usage                -       -     0      1     0     0        0        -  missed
      delta of drop                 -       -     0      1     0     0        0        -  missed
"""
