"""Our NamedTuple beside that of typing: the same class body, the same behaviour."""

from __future__ import annotations

import copy
import pickle
import sys
import typing
from typing import Any

import pytest

from check_conntrack_lib.namedtuples import NamedTuple
from check_conntrack_lib.readers import proc_conntrack


class Ours(NamedTuple):
    """A place."""

    first: int
    #: with a default
    second: str = 'two'
    third: tuple[int, ...] = ()

    @property
    def both(self) -> str:
        return f'{self.first} {self.second}'

    @classmethod
    def made(cls, first: int) -> Ours:
        return cls(first)


class Theirs(typing.NamedTuple):
    """A place."""

    first: int
    second: str = 'two'
    third: tuple[int, ...] = ()

    @property
    def both(self) -> str:
        return f'{self.first} {self.second}'

    @classmethod
    def made(cls, first: int) -> Theirs:
        return cls(first)


class One(NamedTuple):
    only: int


CALLS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((1,), {}), ((1, 'b'), {}), ((1, 'b', (3,)), {}), ((), {'first': 1}), ((1,), {'third': (4,)}),
    ((), {'third': (4,), 'second': 'b', 'first': 1}), ((1,), {'second': None}),
]
#: none of them makes a tuple
WRONG_CALLS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((), {}), ((), {'second': 'b'}), ((1, 'b', (), 4), {}), ((1,), {'first': 2}), ((1,), {'fourth': 4}),
    ((1, 'b', ()), {'third': ()}), ((1, 'b', ()), {'fourth': ()}),
]


@pytest.mark.parametrize(('values', 'named'), CALLS)
def test_it_is_made_as_theirs(values: tuple[Any, ...], named: dict[str, Any]) -> None:
    ours, theirs = Ours(*values, **named), Theirs(*values, **named)
    assert tuple(ours) == tuple(theirs)
    assert repr(ours) == repr(theirs).replace('Theirs', 'Ours')
    assert ours._asdict() == theirs._asdict()
    assert (ours.first, ours.second, ours.third, ours.both) == (theirs.first, theirs.second, theirs.third, theirs.both)
    assert (hash(ours), ours == theirs, ours < theirs) == (hash(theirs), True, False)


@pytest.mark.parametrize(('values', 'named'), WRONG_CALLS)
@pytest.mark.parametrize('kind', [Ours, Theirs])
def test_wrong_arguments_are_a_type_error(kind: type, values: tuple[Any, ...], named: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r'first|takes|third|fourth|argument'):
        kind(*values, **named)


def test_what_is_missing_or_too_much_is_named() -> None:
    with pytest.raises(TypeError, match=r"Ours\(\) missing 'first'"):
        Ours(second='b')  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"Ours\(\) got unexpected or repeated 'fourth'"):
        Ours(1, fourth=4)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r'Ours\(\) takes 3 values, got 4'):
        Ours(1, 'b', (), 4)  # type: ignore[call-arg]


@pytest.mark.parametrize('kind', [Ours, Theirs])
def test_parts_are_replaced(kind: Any) -> None:
    one = kind(1, 'b')
    assert one._replace(second='c', first=2) == (2, 'c', ())
    assert type(one._replace()) is kind
    assert one == (1, 'b', ())
    with pytest.raises((ValueError, TypeError), match='fourth'):  # TypeError from Python 3.13 on
        one._replace(fourth=4)


@pytest.mark.parametrize('kind', [Ours, Theirs])
def test_it_is_made_of_a_sequence_of_all_fields(kind: Any) -> None:
    assert kind._make([1, 'b', ()]) == kind(1, 'b')
    assert kind.made(1) == (1, 'two', ())
    for values in ([1], [1, 'b', (), 4]):
        with pytest.raises(TypeError, match=f'Expected 3 arguments, got {len(values)}'):
            kind._make(values)


def test_the_class_is_described_as_theirs() -> None:
    # Python 3.9 has no patterns to match
    matched = ['__match_args__'] if sys.version_info >= (3, 10) else []
    for name in ('_fields', '_field_defaults', '__doc__', '__module__', '__slots__', *matched):
        assert getattr(Ours, name, None) == getattr(Theirs, name, None), name
    assert typing.get_type_hints(Ours) == typing.get_type_hints(Theirs)
    assert Ours.__qualname__ == 'Ours'


@pytest.mark.parametrize('one', [Ours(1, 'b'), One(1), proc_conntrack.Flow(
    6, 'ESTABLISHED', 1, 2, b'a', b'b', 3, 4, b'c', b'd')])
def test_copies_are_equal(one: Any) -> None:
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(one, protocol))
        assert again == one
        assert type(again) is type(one)
    assert copy.copy(one) == copy.deepcopy(one) == one


@pytest.mark.parametrize('kind', [Ours, Theirs])
def test_it_takes_no_other_attribute(kind: Any) -> None:
    one = kind(1)
    with pytest.raises(AttributeError):
        one.fourth = 4
    with pytest.raises(AttributeError):
        one.first = 4
    assert not hasattr(one, '__dict__')
