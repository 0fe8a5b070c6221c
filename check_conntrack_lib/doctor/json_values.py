"""Values of the readings and advice as JSON has them."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

from ..analysis.profile import Profile
from ..model import Missing


def plain(value: Any) -> Any:
    """Named tuples as objects; what is missing with its reason; profiles by their totals only; no infinite numbers."""
    if isinstance(value, Profile):
        return {'entries': value.entries, 'seen': value.seen, 'assured': value.assured,
                'unreplied': value.unreplied, 'nat': value.nat}
    if isinstance(value, Missing):
        return {'missing': value.why, 'remedy': value.remedy}
    if isinstance(value, tuple) and hasattr(value, '_asdict'):
        return {name: plain(part) for name, part in value._asdict().items()}
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, float) and not isfinite(value):
        return None  # JSON has no such numbers
    return [plain(part) for part in value] if isinstance(value, (tuple, list)) else value
