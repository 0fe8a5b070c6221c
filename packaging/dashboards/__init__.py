"""The Grafana dashboards: rows.py describes them once for all stores, perfdata.py writes the queries of InfluxDB and
Graphite, render.py makes Grafana's JSON of it.
"""
