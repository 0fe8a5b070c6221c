"""The Nagios plugin: the only package that imports nagiosplugin."""
