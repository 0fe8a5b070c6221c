"""Mutations of true texts and messages: what a broken kernel, a hostile process or a damaged disk could put there."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

_S = TypeVar('_S', str, bytes)

#: what breaks parsers, and what breaks the output of those that pass it on
WORDS = ('', ' ', '\n', '\0', '|', '\x1b[31m', '\x9b', '\x7f', '\r', '\t', '\x0b', '\x85', '\u2028', '\u202e', '\udce9',
         '\ufffd', '\u0663', '\u00b2', '\U0001d7d9', '-', '-1', '0', '00', '1', '4294967295', '4294967296',
         '9223372036854775807', '9223372036854775808', '99999999999999999999', '9' * 400, '1e309', '1_0', '+5', 'nan',
         'inf', 'null', '[]', '{}', '""', '-0.0', '0x10', 'ffffffff', '100000000', '%', '%s', '{', '}', '[', ']', ':',
         ';', ',', '=', '/', '..', '\\', "'", '"', '\\x0a', '\\x7c', 'A' * 5000)
NUMBERS = '0123456789'
#: bytes that are lengths, types and limits in binary messages
BYTES = (b'', b'\0', b'\xff', b'\x7f', b'\x80', b'\0\0', b'\xff\xff', b'\x04\0', b'\x05\0', b'\x08\0', b'\0\0\0\0',
         b'\xff\xff\xff\xff', b'\x04\0\x01\x80', b'\x08\0\x01\0', b'\x14\0\x01\0', b'\x05\0\x01\0')


def mutated(random: Random, corpus: Sequence[_S], words: Sequence[_S]) -> _S:
    """One of the corpus after one to four changes; once in a hundred times as it was."""
    text = corpus[int(random.random() * len(corpus))]
    if random.random() < 0.01:
        return text
    for _ in range(1 + int(random.random() ** 2 * 4)):
        text = _changed(random, text, corpus, words)
    return text


def _changed(random: Random, text: _S, corpus: Sequence[_S], words: Sequence[_S]) -> _S:
    size = len(text)
    at = int(random.random() * (size + 1))
    # most true texts have short fields: so have most changes
    end = min(size, at + int(random.random() ** 3 * min(64, size + 1)) + 1)
    kind = random.random()
    if kind < 0.30:
        return text[:at] + words[int(random.random() * len(words))] + text[end:]
    if kind < 0.45:
        return text[:at] + words[int(random.random() * len(words))] + text[at:]
    if kind < 0.60:
        return text[:at] + text[end:]
    if kind < 0.68:
        return text[:end] + text[at:end] * (1 + int(random.random() * 3)) + text[end:]
    if kind < 0.74:
        return text[:at]
    if kind < 0.82:
        other = corpus[int(random.random() * len(corpus))]
        place = int(random.random() * (len(other) + 1))
        return text[:at] + other[place:place + int(random.random() * 80)] + text[end:]
    if kind < 0.9:
        place = int(random.random() * (size + 1))
        return text[:at] + text[place:place + end - at] + text[end:]
    return text[:at] + _one(random, text) + text[at + 1:]


def _one(random: Random, text: _S) -> _S:
    """Another digit, letter or byte."""
    if isinstance(text, bytes):
        return bytes([int(random.random() * 256)])
    return chr(int(random.random() * (128 if random.random() < 0.9 else 0x3000)))
