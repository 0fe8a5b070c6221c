"""Whose schema a file has: each object that is not ours makes it somebody's."""

from __future__ import annotations

import pytest

from check_conntrack_lib.history import allowances
from check_conntrack_lib.history.schema_check import columns, empty, is_ours, tables


@pytest.mark.parametrize(('statement', 'ours'), [
    ('', True), ('DROP TABLE netns', True), ('DROP TABLE profile', True), ('DROP INDEX sample_by_time', True),
    (allowances.SCHEMA, True), (allowances.SCHEMA.replace(',\n    each TEXT', ''), True),
    (allowances.SCHEMA + '\n; ALTER TABLE allowance ADD COLUMN more', False),
    ('CREATE TABLE allowance (time REAL)', False),
    ('DROP TABLE boot', False), ('DROP TABLE sample', False), ('CREATE TABLE other (a)', False),
    ('CREATE VIEW other AS SELECT 1', False), ('CREATE INDEX other ON sample (entries)', False),
    ('CREATE TRIGGER other AFTER INSERT ON sample BEGIN DELETE FROM boot; END', False),
    ('DROP INDEX sample_by_time; CREATE INDEX sample_by_time ON sample (netns, time)', False),
    ('DROP INDEX sample_by_time; CREATE INDEX sample_by_time ON sample (time, abs(netns))', False),
    ('ALTER TABLE sample ADD COLUMN more', False), ('ALTER TABLE boot RENAME COLUMN boot_id TO name', False),
    ('DROP TABLE boot; CREATE TABLE boot (id INTEGER PRIMARY KEY, boot_id BLOB NOT NULL UNIQUE)', False),
    ("DROP TABLE boot; CREATE TABLE boot (id INTEGER PRIMARY KEY, boot_id TEXT AS ('x') UNIQUE)", False)])
def test_only_our_tables_with_our_columns(statement: str, ours: bool) -> None:
    database = empty()
    database.executescript(statement)
    assert is_ours(database) is ours
    database.close()


def test_what_is_read_of_a_file() -> None:
    assert tables() == ('boot', 'log', 'netns', 'profile', 'sample')
    assert columns('boot') == ('id', 'boot_id')
    assert columns('sample') == ('time', 'boot', 'netns', 'uptime', 'entries', 'maximum', 'buckets', 'counters')
