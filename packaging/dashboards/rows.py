"""The one description of the dashboards: what is shown, under which heading, and what each store is asked for it.

To show something else, add a panel; to show a group of metrics of its own, a row. `packaging/grafana_dashboards.py`
writes the files. Metrics: check_conntrack_lib/doctor/export/metrics.py; performance data: docs/performance-data.md.
"""

from __future__ import annotations

from check_conntrack_lib.defaults import CRITICAL, WARNING

from .model import First, FullIn, Panel, Perfdata, Promql, Row

HOSTS = 'instance=~"$instance"'
#: of a host's tables, with --netns all, the fullest
FULLEST = f'max by (instance) (conntrack_usage_ratio{{{HOSTS}}})'
#: seconds of each table, of those that grow
LEFT = (f'(conntrack_entries_limit{{{HOSTS}}} - conntrack_entries{{{HOSTS}}}) '
        f'/ (deriv(conntrack_entries{{{HOSTS}}}[15m]) > 0)')
USAGE_COLOURS = ((WARNING, 'orange'), (CRITICAL, 'red'))
#: seconds
TIME_COLOURS = ((0, 'red'), (900, 'orange'), (3600, 'green'))
LIMITS = (('warning', 'orange'), ('critical', 'red'))
#: a namespace, a container that is in no pod, or a pod
NAMED = '{{instance}} {{name}}{{netns}}'
POD = '{{namespace}}/{{pod}} on {{instance}}'
WITH_NETNS = 'With conntrack-doctor export --netns all.'


def rates(*kinds: str) -> tuple[Promql, ...]:
    """The rate of each of these counters of the kernel, of all tables of a host."""
    return tuple(Promql(f'sum by (instance) (rate(conntrack_stat_{kind}_total{{{HOSTS}}}[5m]))',
                        f'{{{{instance}}}} {kind}') for kind in kinds)


ROWS = (
    Row('Usage', (
        Panel('Usage', "How full the fullest table of each host is, with the check's thresholds.",
              (Promql(f'100 * {FULLEST}'), Promql(f'vector({WARNING:g})', 'warning'),
               Promql(f'vector({CRITICAL:g})', 'critical')),
              (Perfdata(('usage',), 'mean'), Perfdata(('usage',), field='warn', suffix=' warning'),
               Perfdata(('usage',), field='crit', suffix=' critical')),
              unit='percent', width=16, height=9, maximum=100, dashed=LIMITS),
        Panel('Usage now', 'The last value of each host.',
              (Promql(f'100 * {FULLEST}'),), (Perfdata(('usage',), 'last'),),
              'now', 'percent', 8, 9, maximum=100, colours=USAGE_COLOURS),
        Panel('Entries', 'Entries of the fullest table, and nf_conntrack_max.',
              (Promql(f'max by (instance) (conntrack_entries{{{HOSTS}}})'),
               Promql(f'max by (instance) (conntrack_entries_limit{{{HOSTS}}} < Inf)', '{{instance}} maximum')),
              (Perfdata(('entries',)), Perfdata(('entries',), field='max', suffix=' maximum')),
              dashed=(('maximum', 'red'),)),
        Panel('Growth', 'Entries per second, negative while the table empties.',
              (Promql(f'max by (instance) (deriv(conntrack_entries{{{HOSTS}}}[5m]))'),),
              (Perfdata(('growth_per_s',), 'mean'),), minimum=None),
    )),
    Row('Time to full', (
        Panel('Full in', 'At the growth of the last 15 minutes; empty while the table does not grow.',
              (Promql(f'min by (instance) ({LEFT})'),), (FullIn(),), unit='s', width=16, minimum=None,
              maximum=86400, logarithmic=True),
        Panel('Full in, now', 'At the growth of the last 15 minutes; empty while the table does not grow.',
              (Promql(f'min by (instance) ({LEFT})'),), (FullIn(),), 'now', 's', 8, colours=TIME_COLOURS),
    )),
    Row('Drops and evictions', (
        Panel('Drops and evictions by kind',
              'drop: no room, no memory, or a clash not resolved. chaintoolong: full hash chains. early_drop: entries '
              'evicted. insert_failed overlaps with drop: never add the two.',
              rates('drop', 'chaintoolong', 'insert_failed', 'early_drop'),
              (Perfdata(('drop_per_s', 'chaintoolong_per_s', 'insert_failed_per_s', 'early_drop_per_s')),), unit='pps'),
        Panel('Packets dropped', 'drop without clashes, and chaintoolong: what the check and the alert compare with '
              'thresholds. From Prometheus it needs the recording rules of conntrack-alerts.yml.',
              (Promql(f'sum by (instance) (conntrack:dropped:rate5m{{{HOSTS}}})'),),
              (Perfdata(('dropped_per_s',)),), unit='pps'),
        Panel('Kernel log', "'table full' messages in the window. Rate-limited: the number of messages is not the "
              'number of packets, and no message does not mean no drops.',
              (Promql('sum by (instance) ({__name__=~"conntrack_log_table_full_lines(_other)?",' f'{HOSTS}}})'),),
              (Perfdata(('table_full_lines',)),), width=24, height=6),
    )),
    Row('Fleet: who is full first', (
        Panel('Full first', 'The 10 tables of all hosts that are full first at their growth. From Prometheus it needs '
              'the recording rules of conntrack-fleet.yml.',
              (Promql('conntrack:seconds_to_full:first10', '{{instance}} {{namespace}} {{pod}}{{container}}'),),
              (First(FullIn()),), 'first', 's', 8, 10, colours=TIME_COLOURS),
        Panel('Fullest now', 'The 10 fullest tables of all hosts. From Prometheus it needs the recording rules of '
              'conntrack-fleet.yml.',
              (Promql('100 * conntrack:usage_ratio:top10', '{{instance}} {{namespace}} {{pod}}{{container}}'),),
              (First(Perfdata(('usage',))),), 'first', 'percent', 8, 10, maximum=100, colours=USAGE_COLOURS),
        Panel('Most packets dropped', 'The 10 hosts that drop the most packets per second.',
              (Promql('topk(10, sum by (instance) (conntrack:dropped:rate5m) > 0)'),),
              (First(Perfdata(('dropped_per_s',))),), 'first', 'pps', 8, 10, colours=((0.001, 'orange'), (10, 'red'))),
    )),
    Row('New connections', (
        Panel('New connections', 'Per second, with conntrack-doctor export --rate.',
              (Promql(f'sum by (instance) (rate(conntrack_new_connections_total{{{HOSTS}}}[5m]))'),), unit='cps',
              width=24),
    ), closed=True),
    Row('What fills the table', (
        Panel('Entries by state', 'Estimated from a sample, where the check may read the table (as root).',
              perfdata=(Perfdata(('flows_tcp_*', 'flows_udp', 'flows_other'), 'mean'),)),
        Panel('Entries without a reply', 'Estimated from a sample: what is evicted first when the table is full.',
              perfdata=(Perfdata(('flows_unreplied',), 'mean'),)),
        Panel('TCP connections by state', 'With conntrack-doctor export --per-host.',
              tuple(Promql(f'sum by (instance) (conntrack_{group}_connections_total{{{HOSTS}}})',
                           f'{{{{instance}}}} {group}') for group in ('opening', 'open', 'closing', 'closed'))),
        Panel('Remote hosts with most open connections', 'With conntrack-doctor export --per-host.',
              (Promql(f'topk(10, conntrack_open_connections_total{{{HOSTS}, host!="other"}})',
                      '{{instance}} {{host}}'),)),
    ), closed=True),
    Row('NAT ports', (
        Panel('NAT ports', 'Use of the fullest ranges of source NAT ports; from Prometheus with conntrack-doctor '
              'export --nat-ports.',
              (Promql(f'100 * conntrack_nat_ports_used{{{HOSTS}}} / conntrack_nat_ports{{{HOSTS}}}',
                      '{{instance}} {{address}} to {{server}}:{{port}} {{protocol}}'),),
              (Perfdata(('nat_ports',)), Perfdata(('nat_ports',), field='warn', suffix=' warning'),
               Perfdata(('nat_ports',), field='crit', suffix=' critical')),
              unit='percent', width=24, maximum=100, dashed=LIMITS),
    ), closed=True),
    Row('Cloud limits', (
        Panel('Dropped by the cloud', "AWS: packets dropped at the instance's limit of tracked connections, and those "
              'to DNS, metadata and time service.',
              tuple(Promql(f'sum by (instance) (rate(conntrack_{prefix}allowance_exceeded_total{{{HOSTS}}}[5m]))',
                           f'{{{{instance}}}} {name}') for prefix, name in (('', 'connections'),
                                                                          ('linklocal_', 'link-local'))),
              (Perfdata(('conntrack_allowance_exceeded_per_s', 'linklocal_allowance_exceeded_per_s')),), unit='pps'),
        Panel('Connections left', 'AWS: from Prometheus as the interface counts them, from the check in percent of the '
              'most that was seen.',
              (Promql(f'conntrack_allowance_available{{{HOSTS}}}', '{{instance}} {{interface}}'),),
              (Perfdata(('conntrack_allowance_available',), 'min'),)),
    ), closed=True),
    Row('Network namespaces', (
        Panel('Fullest namespaces', WITH_NETNS,
              (Promql(f'topk(10, 100 * conntrack_usage_ratio{{{HOSTS}, name!=""}})', NAMED),),
              unit='percent', maximum=100),
        Panel('Drops by namespace', WITH_NETNS,
              (Promql('topk(10, sum by (instance, name, netns) '
                      f'(rate(conntrack_stat_drop_total{{{HOSTS}, name!=""}}[5m])) > 0)', NAMED),), unit='pps'),
        Panel('Namespaces', 'With --netns all: their number, and the entries of all. From the check also how many are '
              'above the warning threshold; its other panels show the worst one.',
              (Promql(f'conntrack_namespaces{{{HOSTS}}}', '{{instance}} namespaces'),
               Promql(f'sum by (instance) (conntrack_entries{{{HOSTS}, name!=""}}) '
                      f'+ on (instance) conntrack_entries_other{{{HOSTS}}}', '{{instance}} entries of all')),
              (Perfdata(('namespaces', 'namespaces_over_warning', 'entries_all_namespaces')),), width=24),
    ), closed=True),
    Row('Pods and containers', (
        Panel('Fullest pods', WITH_NETNS,
              (Promql(f'topk(10, 100 * max by (instance, namespace, pod) (conntrack_usage_ratio{{{HOSTS}, pod!=""}}))',
                      POD),), unit='percent', maximum=100),
        Panel('Pods that are full first', WITH_NETNS + ' At the growth of the last 15 minutes.',
              (Promql('bottomk(10, min by (instance, namespace, pod) ('
                      + LEFT.replace('entries{' + HOSTS, 'entries{' + HOSTS + ', pod!=""') + '))', POD),),
              unit='s', minimum=None, maximum=86400, logarithmic=True),
        Panel('Drops by pod', WITH_NETNS,
              (Promql('topk(10, sum by (instance, namespace, pod) '
                      f'(rate(conntrack_stat_drop_total{{{HOSTS}, pod!=""}}[5m])) > 0)', POD),), unit='pps'),
        Panel('Fullest containers outside of pods', WITH_NETNS,
              (Promql(f'topk(10, 100 * conntrack_usage_ratio{{{HOSTS}, container!=""}})',
                      '{{container}} on {{instance}}'),), unit='percent', maximum=100),
    ), closed=True),
)
