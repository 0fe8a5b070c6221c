"""The Nagios plugin: the only rooms that import nagiosplugin."""
