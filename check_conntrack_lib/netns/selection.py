"""The words of --netns that mean a network namespace.

Any user can give his own cgroups and processes the names of root's. What a word means by root's doing goes before what
it means by anybody else's.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..formatting import clean_name
from ..host import Host
from . import cgroup, names, owner
from .discover import Namespace

#: the fewest digits of an id that are accepted
LEAST_DIGITS = 4
#: by whose doing a word means a namespace, the most believable first: root's, for another namespace than the host's;
#: root's for the host's, where everybody may start a process; that of a container's root, for one inside; a user's
OWN, INITIAL, NESTED, OF_A_USER = range(4)


def select(host: Host, namespaces: tuple[Namespace, ...], wanted: tuple[str, ...]) -> dict[str, list[Namespace]]:
    """Those that each word means: 'current', 'host', an inode, or any name or first digits of an id that is known.

    namespaces: the one that host shows is the first.
    """
    selected: dict[str, list[Namespace]] = {}
    for word in wanted:
        if word == 'current':
            selected[word] = list(namespaces[:1])
        elif word == names.HOST:
            selected[word] = [one for one in namespaces if one.initial]
        else:
            selected[word] = [one for one in namespaces if word in (one.name, one.path)] \
                or [one for one in namespaces if word == str(one.inode)]
    ranks: dict[str, dict[Namespace, int]] = {word: {} for word in wanted if not selected[word]
                                              and word not in names.RESERVED}
    # by what is cheap first: ids and names in the cgroups of all processes, then what the runtimes call them
    for means in (_ids_mean, _names_mean):
        open_words = [word for word, found in ranks.items() if OWN not in found.values()]
        if open_words:
            for one in namespaces:
                for word, rank in means(host, one, open_words):
                    ranks[word][one] = min(rank, ranks[word].get(one, rank))
    for word, found in ranks.items():
        selected[word] = [one for one in namespaces if one in found and found[one] == min(found.values())]
    return selected


def _ids_mean(host: Host, namespace: Namespace, words: list[str]) -> Iterator[tuple[str, int]]:
    for known in {cgroup.read(host, pid) for pid in namespace.pids}:
        for word in words:
            if known.container and _means(word, known.container):
                yield word, _rank(host, namespace, cgroup.maker(host, known), known.nested)


def _names_mean(host: Host, namespace: Namespace, words: list[str]) -> Iterator[tuple[str, int]]:
    found = names.containers(host, namespace)
    if not namespace.initial and (not found or not (found[0].name or found[0].pod)):
        name = names.name_of(host, namespace)
        yield from _meant(host, namespace, words, {name.title, name.lasting, name.container}, name.uid,
                          name.nested)
    for one in found:
        known = {one.name, one.pod, f'pod {one.pod}', f'{one.pod}/{one.name}', names.title_of(one)} if one.pod \
            else {one.name, f'container {one.name}', names.title_of(one)}
        known |= {word for word in words if _means(word, one.id)}
        yield from _meant(host, namespace, words, known, one.uid, one.nested)


def _meant(host: Host, namespace: Namespace, words: list[str], known: set[str], uid: int,
           nested: bool) -> Iterator[tuple[str, int]]:
    # what is printed in the place of characters that may not be printed
    known = known | {clean_name(one) for one in known}
    for word in words:
        if word in known:
            yield word, _rank(host, namespace, uid, nested)


def _rank(host: Host, namespace: Namespace, uid: int, nested: bool) -> int:
    if uid or owner.is_of_another_user(host, namespace):
        return OF_A_USER
    return NESTED if nested else INITIAL if namespace.initial else OWN


def _means(word: str, container: str) -> bool:
    return word == container or (len(word) >= LEAST_DIGITS and cgroup.is_id(container) and container.startswith(word))
