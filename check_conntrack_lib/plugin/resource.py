"""Data acquisition: one assessment of this host, as nagiosplugin's metrics."""

from __future__ import annotations

from collections.abc import Iterator

from nagiosplugin import Context, Metric, Resource

from ..assessment import Assessment, Question, assess, evaluate, settings_of
from ..counters import COUNTERS
from ..deadline import Deadline
from ..defaults import PATIENCE
from ..formatting import duration
from ..history.identity import Identify
from ..host import Host
from ..model import History, Missing, NotLoaded, Table
from ..namedtuples import TYPE_CHECKING
from .options import Options, upper_threshold
from .signals import SIGNALS, rate_of

if TYPE_CHECKING:
    from ..analysis.profile import Profile
    from ..diagnosis import Diagnosis
    from .ranking import Ranking

#: counters that are shown as a rate, though no signal has their value
RATES = [name for name, counter in COUNTERS.items()
         if counter.rate and f'{name}_per_s' not in {signal.label for signal in SIGNALS}]


class ConnectionTracking(Resource):
    """The connection tracking table of one namespace, or of the worst of many.

    After `probe`, `assessment` is set, and `ranking` when there are many.
    """

    def __init__(self, host: Host, options: Options, contexts: tuple[Context, ...], deadline: Deadline) -> None:
        self.host = host
        self.options = options
        self.contexts = contexts
        self.deadline = deadline
        self.ranking: Ranking | None = None
        self._probed = False
        self.assessment: Assessment

    def probe(self) -> list[Metric]:
        """Every metric of the run; a signal that is Missing yields one that only says so."""
        if self._probed:
            # with what the flows have shown since
            return self._metrics()
        options = self.options
        question = question_of(options)
        patience = min(PATIENCE, self.deadline.left() / 4)
        if options.netns != ('current',):
            return self._probe_all(question, patience)
        self.assessment = assess(self.host, question, self.deadline.budget, patience, self._identify_own)
        return self._metrics()

    def _metrics(self) -> list[Metric]:
        found = list(metrics(self.assessment))
        if self.ranking is not None:
            from . import all_namespaces

            found += all_namespaces.namespace_metrics(self.ranking)
        return found

    def _identify_own(self, initial: bool) -> Identify:
        if initial:
            return Identify(name=lambda _sample: 'host')
        from ..netns.identify import identify_own  # only in a namespace of a container or of `ip netns exec`

        return identify_own(self.host)

    def add_ports(self, flows: Profile | Diagnosis | Missing | None) -> bool:
        """Takes over what the flows show of NAT ports, of many namespaces the worst one's; False: they show nothing."""
        if flows is None or isinstance(flows, Missing):
            return False
        from ..diagnosis import Diagnosis  # flows were looked at: it is there already

        ports = (flows.profile if isinstance(flows, Diagnosis) else flows).nat_ports
        if ports:
            self.assessment = self.assessment._replace(ports=ports[0])
            if self.ranking is not None:
                self.ranking = self.ranking.with_ports(ports[0])
            self._probed = True
        return bool(ports)

    def netns_file(self) -> str:
        """The file of the worst namespace; '' when it is the one that this process is in."""
        if self.ranking is None:
            return ''
        from . import all_namespaces

        return all_namespaces.netns_file(self.host, self.ranking)

    def _probe_all(self, question: Question, patience: float) -> list[Metric]:
        from ..netns.assess import assess_all, with_points  # only where more than one namespace is looked at
        from . import all_namespaces, ranking

        assessments = assess_all(self.host, question, self.options.netns, self.deadline.budget, patience)
        if not isinstance(assessments.own.table, Table) or not assessments.members:
            own = assessments.own
            if isinstance(own.table, Table):
                own = own._replace(table=all_namespaces.missing(assessments) or Missing('no such network namespace'))
            self.assessment = evaluate(own, Missing('nothing to record', chosen=True), '', question)
            return self._metrics()
        self.ranking = ranking.rank_namespaces(self.host, assessments, self.contexts, self.options)
        drifting = settings_of(self.host, assessments.own, question)
        worst = with_points(self.ranking.worst.assessment, question, patience)
        self.assessment = worst._replace(settings=drifting)
        return self._metrics()


def question_of(options: Options) -> Question:
    """What the assessment needs to know of these options."""
    thresholds = [upper_threshold(text) for text in options.limits['usage']]
    _warning, critical = thresholds
    return Question(options.window, options.horizon, 100.0 if critical is None else min(critical, 100.0),
                    options.kernel_log, options.history, options.history_days, options.settings_check != 'off',
                    options.limit, tuple(one for one in thresholds if one is not None), options.clear,
                    options.warning_after, options.trend - options.clear)


def metrics(a: Assessment) -> Iterator[Metric]:
    """Metrics in the order of the performance data; the context of the same name gives each its state."""
    table = a.snapshot.table
    if isinstance(table, NotLoaded):
        yield Metric('not_loaded', table.path)
        return
    if isinstance(table, Missing):
        yield Metric('usage', table, context='missing')
        if a.snapshot.counted is None:
            return
    for signal in SIGNALS:
        value = signal.value(a)
        if value is not None:
            yield Metric(signal.label, value, signal.unit or None, signal.minimum, signal.maximum)
        if signal.name == 'usage' and isinstance(table, Table):
            yield Metric('entries', table.entries, min=0, max=None if table.unlimited else table.limit)
            if not isinstance(table.buckets, Missing):
                yield Metric('buckets', table.buckets, min=0, context='value')
    for counter in RATES:
        rate = rate_of(counter)(a)
        if rate is not None:
            yield Metric(f'{counter}_per_s', rate, min=0, context='value')
    yield from missing_readings(a)


def missing_readings(a: Assessment) -> Iterator[Metric]:
    """A metric for each reading but usage that could not be had, or not wholly."""
    for reading in a.readings():
        # usage stands in front
        if isinstance(reading.value, Missing) and reading.name != 'usage':
            yield Metric(reading.name, reading.value, context='missing')
    if a.stale_base is not None and a.losses is None and not isinstance(a.snapshot.counters, Missing):
        yield Metric('losses', Missing(f'the newest recorded sample is {duration(a.stale_base)} old'),
                     context='missing')
    if a.snapshot.network:
        yield Metric('network', a.snapshot.network, context='missing')
    if not isinstance(a.log, Missing) and a.log.partial:
        yield Metric('kernel-log', Missing(f'goes back {duration(a.log.covered)} only', chosen=not a.log.can_hide),
                     context='missing')
    if isinstance(a.history, History) and a.history.unwritten:
        yield Metric('history', Missing(a.history.unwritten), context='missing')
