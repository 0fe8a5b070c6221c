"""The changes of one token that `benchmarks/mutants.py` tries: found by `ast`, made in the text."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import NamedTuple

COMPARED = {ast.Lt: ('<', '<=', '>='), ast.LtE: ('<=', '<', '>'), ast.Gt: ('>', '>=', '<='), ast.GtE: ('>=', '>', '<'),
            ast.Eq: ('==', '!='), ast.NotEq: ('!=', '=='), ast.Is: ('is', 'is not'), ast.IsNot: ('is not', 'is'),
            ast.In: ('in', 'not in'), ast.NotIn: ('not in', 'in')}
COMPUTED = {ast.Add: ('+', '-'), ast.Sub: ('-', '+'), ast.Mult: ('*', '/'), ast.Div: ('/', '*'),
            ast.FloorDiv: ('//', '*'), ast.Mod: ('%', '//'), ast.BitAnd: ('&', '|'), ast.BitOr: ('|', '&'),
            ast.LShift: ('<<', '>>'), ast.RShift: ('>>', '<<')}
DROPPED = (ast.Assign, ast.AugAssign, ast.Delete, ast.Raise, ast.Continue, ast.Break, ast.Assert, ast.Return)
#: what these calls are told has no consequence that a test could see
NOT_LOOKED_INTO = {'lru_cache', 'TypeVar', 'NewType', 'cast', 'overload'}


class Change(NamedTuple):
    """One change of a source text."""

    line: int
    #: (line, column) in the text's UTF-8, lines from 1
    begin: tuple[int, int]
    end: tuple[int, int]
    new: str
    #: 'x < 3 becomes x <= 3', with the whole of the changed expression or statement
    says: str
    #: first line of the innermost function or lambda around it; 0 for what runs on import
    function: int

    def applied(self, text: str) -> str:
        lines = text.encode().splitlines(keepends=True)
        first, last = self.begin[0] - 1, self.end[0] - 1
        lines[first:last + 1] = [lines[first][:self.begin[1]] + self.new.encode() + lines[last][self.end[1]:]]
        return b''.join(lines).decode()


def changes(text: str) -> list[list[Change]]:
    """Of each token or statement that can be changed, its changes. Raises SyntaxError."""
    return [found for found in _Finder(text).visit_all() if found]


class _Finder:
    def __init__(self, text: str) -> None:
        self.tree = ast.parse(text)
        self.lines = text.encode().splitlines(keepends=True)

    def visit_all(self) -> Iterator[list[Change]]:
        yield from self._visit(self.tree, 0)

    def _visit(self, node: ast.AST, function: int) -> Iterator[list[Change]]:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            # defaults and decorators run on import
            for part in (*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)):
                yield from self._visit(part, function)
            for statement in node.body:
                yield from self._visit(statement, first)
            return
        if isinstance(node, ast.Lambda):
            function = node.lineno
        if isinstance(node, ast.AnnAssign):
            if node.value:
                yield from self._visit(node.value, function)
            return
        if self._without_consequence(node):
            return
        yield from self._of(node, function)
        for child in ast.iter_child_nodes(node):
            yield from self._visit(child, function)

    def _without_consequence(self, node: ast.AST) -> bool:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return True  # a docstring
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == 'TYPE_CHECKING':
            return True
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            return node.targets[0].id in ('__slots__', '__all__', '__version__')
        called = node.func if isinstance(node, ast.Call) else None
        name = called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ''
        return name in NOT_LOOKED_INTO

    def _of(self, node: ast.AST, function: int) -> Iterator[list[Change]]:
        if isinstance(node, ast.Compare):
            left: ast.expr = node.left
            for operator, right in zip(node.ops, node.comparators):
                yield self._between(node, left, right, COMPARED[type(operator)], function)
                left = right
        elif isinstance(node, ast.BinOp) and type(node.op) in COMPUTED:
            yield self._between(node, node.left, node.right, COMPUTED[type(node.op)], function)
        elif isinstance(node, ast.BoolOp):
            words = ('and', 'or') if isinstance(node.op, ast.And) else ('or', 'and')
            for first, second in zip(node.values, node.values[1:]):
                yield self._between(node, first, second, words, function)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
            line, column = _begin(node)
            word = 'not' if isinstance(node.op, ast.Not) else '-'
            yield [self._change(node, node, (line, column), (line, column + len(word)), '', function)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
            value = node.value
            others = (not value,) if isinstance(value, bool) else (value + 1, value - 1)
            yield [self._change(node, node, _begin(node), _end(node), repr(other), function) for other in others]
        elif isinstance(node, ast.Slice):
            yield [self._change(node, bound, _begin(bound), _end(bound), '', function)
                   for bound in (node.lower, node.upper) if bound]
        elif isinstance(node, ast.stmt):
            yield self._of_statement(node, function)

    def _of_statement(self, node: ast.stmt, function: int) -> list[Change]:
        made = []
        # None in the place of '', 0 or False is the type checker's to find
        if isinstance(node, ast.Return) and node.value and not (
                isinstance(node.value, ast.Constant) and not node.value.value):
            made.append(self._change(node, node, _begin(node), _end(node), 'return None', function))
        called = isinstance(node, ast.Expr) and isinstance(node.value, (ast.Call, ast.Yield, ast.YieldFrom))
        # outside of functions the missing name would be noticed at once
        if function and (called or isinstance(node, DROPPED)):
            made.append(self._change(node, node, _begin(node), _end(node), 'pass', function))
        return made

    def _between(self, node: ast.AST, left: ast.expr, right: ast.expr, words: tuple[str, ...],
                 function: int) -> list[Change]:
        """The operator words[0] between two operands becomes each of the others."""
        at, last = _end(left), _begin(right)
        pattern = re.escape(words[0]).replace(r'\ ', r'\s+').encode()
        for number in range(at[0], last[0] + 1):
            line = self.lines[number - 1]
            stop = last[1] if number == last[0] else len(line)
            start = at[1] if number == at[0] else 0
            found = re.compile(pattern).search(line.partition(b'  #')[0], start, stop)
            if found:
                begin, end = (number, found.start()), (number, found.end())
                return [self._change(node, node, begin, end, word, function) for word in words[1:]]
        return []  # 'not' and 'in' on two lines

    def _change(self, shown: ast.AST, node: ast.AST, begin: tuple[int, int], end: tuple[int, int], new: str,
                function: int) -> Change:
        whole_begin, whole_end = _begin(shown), _end(shown)
        change = Change(node.lineno, begin, end, new, '', function)  # type: ignore[attr-defined]
        before = self._text(whole_begin, whole_end)
        after = self._text(whole_begin, begin) + new + self._text(end, whole_end)
        return change._replace(says=f'{before} becomes {after.strip() or "nothing"}')

    def _text(self, begin: tuple[int, int], end: tuple[int, int]) -> str:
        lines = self.lines[begin[0] - 1:end[0]]
        if not lines:
            return ''
        lines = [*lines[:-1], lines[-1][:end[1]]]
        lines[0] = lines[0][begin[1]:]
        return re.sub(r'\s+', ' ', b''.join(lines).decode())


def _begin(node: ast.AST) -> tuple[int, int]:
    return node.lineno, node.col_offset  # type: ignore[attr-defined]


def _end(node: ast.AST) -> tuple[int, int]:
    return node.end_lineno, node.end_col_offset  # type: ignore[attr-defined]
