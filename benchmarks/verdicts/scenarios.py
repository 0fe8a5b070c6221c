"""Traffic: what fills the table, and how it goes wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from random import Random

from .table import LINUX_5_4, LINUX_5_15, LINUX_6_1, LINUX_6_18, LIVES
from .world import MAXIMUM, WRAP_NEAR, Load, Scenario

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
#: a gateway's usual mix: shares of the entries by kind
MIX = {'tcp': 0.62, 'dns': 0.20, 'stream': 0.12, 'lost syn': 0.06}
#: a working day in percent of its busiest time, by hour
WORKDAY = ((0, 47), (4, 34), (7, 54), (9, 95), (11, 100), (12.5, 93), (15, 100), (17, 92), (20, 84), (24, 47))


def curve(points: Sequence[tuple[float, float]], at: float) -> float:
    """The value at a place on the line through those points; level before and after."""
    if at <= points[0][0]:
        return points[0][1]
    for (a, low), (b, high) in zip(points, points[1:]):
        if at <= b:
            return low + (high - low) * (at - a) / (b - a)
    return points[-1][1]


def mix(percent: float) -> dict[str, float]:
    """New flows a second that hold the table at so many percent."""
    entries = MAXIMUM * percent / 100
    return {kind: share * entries / LIVES[kind] for kind, share in MIX.items()}


def steady(*points: tuple[float, float], noise: float = 0.02) -> Callable[[Random], Load]:
    """The usual mix at the percentages of a curve over (seconds, percent), with noise that lasts ten minutes."""
    return varied(lambda now: mix(curve(points, now)), noise)


def varied(load: Load, noise: float = 0.02) -> Callable[[Random], Load]:
    def make(random: Random) -> Load:
        last, level = 0.0, 0.0

        def noisy(now: float) -> Mapping[str, float]:
            nonlocal last, level
            keep = math.exp((last - now) / (10 * MINUTE))
            level = level * keep + random.gauss(0, noise) * math.sqrt(1 - keep * keep)
            last = now
            return {kind: rate * max(0.0, 1 + level) for kind, rate in load(now).items()}
        return noisy
    return make


def with_extra(base: Callable[[Random], Load], kind: str, *points: tuple[float, float]) -> Callable[[Random], Load]:
    """The same and so many new flows a second of another kind, steps over (seconds, rate)."""
    def make(random: Random) -> Load:
        usual = base(random)

        def load(now: float) -> Mapping[str, float]:
            rate = next((rate for begin, rate in reversed(points) if now >= begin), 0.0)
            return {**usual(now), kind: rate} if rate else usual(now)
        return load
    return make


def working_days(busiest: float) -> Callable[[Random], Load]:
    """Days and weeks with their curve, each day its own level, a batch job at every full hour of the night."""
    def make(random: Random) -> Load:
        levels: list[float] = []

        def load(now: float) -> Mapping[str, float]:
            day, hour = int(now // DAY), now % DAY / HOUR
            while len(levels) <= day + 1:
                levels.append(min(1.0, max(0.85, random.gauss(0.95, 0.04))) * (0.6 if len(levels) % 7 > 4 else 1.0))
            level = levels[day] + (levels[day + 1] - levels[day]) * hour / 24
            percent = busiest * level * curve(WORKDAY, hour) / 100
            rates = mix(percent)
            if hour < 6 and now % HOUR < 5 * MINUTE:
                rates['dns'] *= 2
            return rates
        return varied(load)(random)
    return make


def bursts(level: float, top: float, minutes: Sequence[float], every: float = 3 * HOUR) -> Callable[[Random], Load]:
    """Short batches on a level load: one every three hours, each of another length."""
    def load(now: float) -> Mapping[str, float]:
        number, since = divmod(now, every)
        inside = HOUR <= since < HOUR + minutes[int(number) % len(minutes)] * MINUTE
        return mix(top if inside else level)
    return varied(load, 0.005)


def evenings(level: float, top: float) -> Callable[[Random], Load]:
    """Each day from 17:00 the load rises, fast at first and then less and less, and falls from 22:00 on."""
    def load(now: float) -> Mapping[str, float]:
        hour = now % DAY / HOUR
        risen = -math.expm1(-max(0.0, hour - 17) / 0.7)
        return mix(level + (top - level) * risen * (1 if hour < 22 else max(0.0, 1 - (hour - 22))))
    return varied(load, 0.005)


def heavy_tails(level: float, top: float) -> Callable[[Random], Load]:
    """Batches at any time, most of them small and short, a few large and long (Pareto), never above `top`."""
    def make(random: Random) -> Load:
        batches: list[tuple[float, float, float]] = []

        def load(now: float) -> Mapping[str, float]:
            while not batches or batches[-1][0] <= now:
                begin = (batches[-1][0] if batches else 0.0) + random.expovariate(1 / HOUR)
                length = min(40.0, 3 * random.paretovariate(1.1)) * MINUTE
                batches.append((begin, begin + length, min(top - level, 3 * random.paretovariate(1.1))))
            added = sum(size for begin, end, size in batches[-50:] if begin <= now < end)
            return mix(min(top, level + added))
        return varied(load, 0.005)(random)
    return make


def black_friday(busiest: float, day: int, top: float) -> Callable[[Random], Load]:
    """Working days, and on one of them from 8:00 a rise of two hours and a half on top of the usual."""
    def make(random: Random) -> Load:
        usual = working_days(busiest)(random)
        begin = day * DAY + 8 * HOUR
        points = ((begin, 0.0), (begin + 2.5 * HOUR, top), (begin + 3 * HOUR, top), (begin + 3.5 * HOUR, 0.0))

        def load(now: float) -> Mapping[str, float]:
            rates, more = usual(now), mix(curve(points, now))
            return {kind: rate + more[kind] for kind, rate in rates.items()}
        return load
    return make


def blip(at: float, seconds: float = 15.0, rate: float = 12000.0, percent: float = 60.0) -> Callable[[Random], Load]:
    """Health checks gone wild for some seconds: short connections, each assured until it has timed out."""
    return with_extra(steady((0, percent)), 'health check', (at, rate), (at + seconds, 0.0))


def scenarios(days: float = 30.0) -> tuple[Scenario, ...]:
    """All of them; days: of the quiet time."""
    hour, soon = HOUR, 20 * MINUTE
    ramp = ((hour, 40), (2 * hour, 115), (2.4 * hour, 115), (2.7 * hour, 40))
    slow = ((hour, 40), (5 * hour, 110), (6 * hour, 110), (6.3 * hour, 40))
    leaking = (DAY / 2, MAXIMUM * 0.17 / DAY)
    return (
        Scenario('quiet', f'{days:g} days, daily curve and noise up to 80 %', days * DAY, (working_days(76.0),),
                 step=15.0),
        Scenario('bursts', 'of 5 to 40 minutes from 50 to 82 %, eight a day', 3 * DAY,
                 (bursts(50.0, 82.0, (5, 10, 15, 20, 25, 30, 35, 40)),), step=15.0),
        Scenario('evenings', 'from 17:00 a rise from 50 to 82 % that levels off', 5 * DAY, (evenings(50.0, 82.0),),
                 step=15.0),
        Scenario('jumps', 'from 50 to 70 to 80 % at once, hours on each', 12 * hour,
                 (steady((3 * hour, 50), (3 * hour + 60, 70), (6 * hour, 70), (6 * hour + 60, 80), (9 * hour, 80),
                         (9 * hour + 60, 50), noise=0.005),), step=15.0),
        Scenario('heavy tails', 'batches of any length and size from 45 up to 82 %', 5 * DAY,
                 (heavy_tails(45.0, 82.0),), step=15.0),
        Scenario('black friday', 'a week up to 60 %, then 60 % more within hours', 4.7 * DAY,
                 (black_friday(60.0, 4, 60.0),), (4 * DAY + 8 * hour, 4 * DAY + 12 * hour), step=15.0, lead=600),
        Scenario('leak', 'dead clients, 17 % of the table a day', 5 * DAY,
                 (with_extra(working_days(45.0), 'dead client', leaking, (4.6 * DAY, 0.0)),),
                 (DAY, 5 * DAY), step=15.0, events=((4.6 * DAY, 'double'),), lead=600),
        Scenario('leak of hours', '10 % of the table an hour', 9 * hour,
                 (with_extra(steady((0, 40)), 'dead client', (hour, MAXIMUM * 0.1 / hour)),),
                 (hour, 9 * hour), step=15.0, events=((8 * hour, 'double'),),
                 lead=600),
        Scenario('ramp', '40 to 115 % in an hour', 4.5 * hour, (steady(*ramp),), (hour, 2.7 * hour), lead=600),
        Scenario('slow ramp', '40 to 110 % in four hours', 8 * hour, (steady(*slow),), (hour, 6.3 * hour), lead=600),
        Scenario('burst', '30 %, four times that within three minutes', HOUR,
                 (steady((soon, 30), (soon + 180, 120), (soon + 1200, 120), (soon + 1380, 30)),),
                 (soon, soon + 1800), step=1.0),
        Scenario('syn flood', '6000/s for ten minutes', HOUR,
                 (with_extra(steady((0, 40)), 'syn flood', (soon, 6000.0), (soon + 600, 0.0)),),
                 (soon, soon + 900), step=1.0),
        Scenario('udp scan', '10000/s unreplied for ten minutes', HOUR,
                 (with_extra(steady((0, 50)), 'udp scan', (soon, 10000.0), (soon + 600, 0.0)),),
                 (soon, soon + 900), step=1.0),
        Scenario('blip', 'full for some seconds between two checks', HOUR, (blip(soon),), (soon, soon + 60),
                 step=1.0),
        Scenario('two blips', 'eight minutes from one to the next', HOUR,
                 (with_extra(blip(soon), 'health check', (soon, 12000.0), (soon + 15, 0.0), (soon + 480, 12000.0),
                             (soon + 495, 0.0)),),
                 (soon, soon + 540), step=1.0),
        Scenario('dns races', '0.05/s insert_failed, lost (6.1)', 2 * hour, (steady((0, 40)),), clashes=(0.05, 0.0)),
        Scenario('solved races', '3/s insert_failed, none lost (5.4)', 2 * hour, (steady((0, 40)),),
                 clashes=(0.0, 3.0), kernel=LINUX_5_4, buckets=MAXIMUM // 4),
        Scenario('assured', 'full of assured connections for 90 minutes', 5 * hour,
                 (with_extra(steady((0, 60)), 'dead client', (hour, 100.0), (1.4 * hour, 30.0), (3 * hour, 0.0)),),
                 (hour, 3 * hour), events=((3 * hour, 'double'),)),
        Scenario('few buckets', '16384 for 30 % of 262144 (5.15)', 3 * hour,
                 (steady((hour, 2), (hour + 1800, 30), (2 * hour, 30), (2 * hour + 600, 2)),),
                 (hour, 2 * hour + 1200), buckets=16384, kernel=LINUX_5_15),
        Scenario('reboot', 'at 74 %, and it fills again', 2 * hour, (steady((0, 74)),), events=((hour, 'reboot'),)),
        Scenario('reload', 'the module is loaded again at 74 %', 2 * hour, (steady((0, 74)),),
                 events=((hour, 'reload'),), counted=4000),
        Scenario('reboot in a blip', 'losses, then a reboot a minute later', HOUR, (blip(soon),),
                 (soon, soon + 60), step=1.0, events=((soon + 75, 'reboot'),),
                 unchecked=(soon + 75, soon + 120)),
        Scenario('wrap', 'counters about to wrap, then a blip', HOUR, (blip(soon),), (soon, soon + 60), step=1.0,
                 counted=WRAP_NEAR),
        Scenario('suspended', 'for two hours, a blip 20 minutes later', HOUR, (blip(soon + 1200),),
                 (soon + 1200, soon + 1260), step=1.0, events=((soon, 'suspend'),)),
        Scenario('container', 'one fills in an hour, the host is idle (6.18)', 4 * hour,
                 (steady((0, 5)), steady((hour, 10), (2 * hour, 110), (2.4 * hour, 110), (2.7 * hour, 10))),
                 (hour, 2.7 * hour), kernel=LINUX_6_18, lead=600),
        Scenario('missed checks', 'a blip in 20 minutes without checks', HOUR, (blip(soon),),
                 (soon, soon + 1500), step=1.0, unchecked=(soon - 300, soon + 900)),
        Scenario('5m, blip', 'checked every five minutes', HOUR, (blip(soon),), (soon, soon + 360),
                 step=1.0, check_interval=300.0),
        Scenario('5m, ramp', 'checked every five minutes', 4.5 * hour, (steady(*ramp),), (hour, 2.7 * hour),
                 check_interval=300.0, lead=600),
        Scenario('by hand', 'a blip, and a run by hand every 11 s', HOUR, (blip(soon),), (soon, soon + 60),
                 step=1.0, manual=11.0, kernel=LINUX_6_1),
    )
