"""`NamedTuple` as typing has it, without importing typing: that alone is a twelfth of the plugin's start-up."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple
else:
    from collections import namedtuple

    class _Noun(type):
        """Turns a class body with annotated fields into a named tuple with the body's methods."""

        def __new__(cls, name, bases, body):
            fields = body.get('__annotations__', {})
            noun = namedtuple(name, fields, defaults=[body[field] for field in fields if field in body],
                              module=body['__module__'])
            for key, value in body.items():
                if key not in fields and key not in ('__module__', '__qualname__', '__annotations__'):
                    setattr(noun, key, value)
            noun.__annotations__ = fields
            return noun

    NamedTuple = type.__new__(_Noun, 'NamedTuple', (), {})
