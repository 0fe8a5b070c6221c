"""conntrack-doctor, for an incident and for planning: a package for each verb, and what they share. It only reads."""

from __future__ import annotations

from ..formatting import clean


class DoctorError(Exception):
    """What was asked for cannot be done; its text is one line that says why and what helps."""


def error_line(error: Exception) -> str:
    """One harmless line out of an error: 'FILE: No space left on device'."""
    if isinstance(error, OSError) and error.strerror:
        place = f'{error.filename}: ' if error.filename else ''
        return clean(place + error.strerror, 400)
    return clean(str(error), 400)
