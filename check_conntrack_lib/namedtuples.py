"""`NamedTuple` as typing has it, but cheap to declare: a normal run declares some forty of them.

typing alone is a twelfth of the plugin's start-up, and collections.namedtuple compiles a function for each class.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple
else:
    from collections import _tuplegetter  # what its namedtuple reads a field by

    class _Fields(tuple):
        """What all named tuples have in common."""

        __slots__ = ()
        _fields = ()
        _field_defaults = {}  # noqa: RUF012 - each class has its own
        #: the same defaults, of the last fields
        _last = ()

        def __new__(cls, *values, **named):
            absent = len(cls._fields) - len(values)
            if named or absent:
                # the last ones by default is what is made most often
                values = values + cls._last[-absent:] if not named and 0 < absent <= len(cls._last) \
                    else _in_order(cls, values, named)
            return tuple.__new__(cls, values)

        @classmethod
        def _make(cls, iterable):
            made = tuple.__new__(cls, iterable)
            if len(made) != len(cls._fields):
                raise TypeError(f'Expected {len(cls._fields)} arguments, got {len(made)}')
            return made

        def _replace(self, /, **named):
            made = tuple.__new__(type(self), map(named.pop, self._fields, self))
            if named:
                raise ValueError(f'Got unexpected field names: {list(named)!r}')
            return made

        def _asdict(self):
            return dict(zip(self._fields, self))

        def __repr__(self):
            return f'{type(self).__name__}({", ".join(map("{}={!r}".format, self._fields, self))})'

        def __getnewargs__(self):
            """For copy and pickle."""
            return tuple(self)

    def _in_order(cls, values, named):
        """The values of all fields, some of them by name or by default. Raises TypeError as a function call does."""
        rest, defaults = cls._fields[len(values):], cls._field_defaults
        try:
            values = (*values, *[named.pop(name) if name in named else defaults[name] for name in rest])
        except KeyError as error:
            raise TypeError(f'{cls.__name__}() missing {error}') from None
        if named:
            raise TypeError(f'{cls.__name__}() got unexpected or repeated {", ".join(map(repr, named))}')
        if len(values) > len(cls._fields):
            raise TypeError(f'{cls.__name__}() takes {len(cls._fields)} values, got {len(values)}')
        return values

    class _Declaration(type):
        """Turns a class body with annotated fields into a named tuple with the body's methods."""

        def __new__(cls, name, bases, body):
            fields = tuple(body.get('__annotations__', ()))
            defaults = {field: body[field] for field in fields if field in body}
            body.update(zip(fields, map(_tuplegetter, range(len(fields)), fields)),
                        __slots__=(), _fields=fields, _field_defaults=defaults, _last=tuple(defaults.values()),
                        __match_args__=fields)
            return type(name, (_Fields,), body)

    NamedTuple = type.__new__(_Declaration, 'NamedTuple', (), {})
