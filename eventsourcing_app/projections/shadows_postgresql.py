"""Shadow tables on PostgreSQL: made by ``LIKE``; indexes and constraints have names of their own until the swap."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from eventsourcing_app.exceptions import RebuildFailed
from eventsourcing_app.projections.replay import shadow_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper

_OBSTACLES = """
SELECT 'it is partitioned, or has partitions or children' FROM pg_class c
WHERE c.oid = %(table)s::regclass AND (c.relkind <> 'r' OR c.relispartition
    OR EXISTS (SELECT 1 FROM pg_inherits i WHERE c.oid IN (i.inhrelid, i.inhparent)))
UNION ALL SELECT 'the foreign key ' || conname || ' of ' || conrelid::regclass || ' points to it' FROM pg_constraint
WHERE contype = 'f' AND confrelid = %(table)s::regclass AND conrelid <> ALL (%(own)s::regclass[])
UNION ALL SELECT DISTINCT 'the view ' || r.ev_class::regclass || ' reads it' FROM pg_depend d
JOIN pg_rewrite r ON r.oid = d.objid WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
    AND d.refobjid = %(table)s::regclass AND r.ev_class <> d.refobjid
UNION ALL SELECT 'the function ' || d.objid::regprocedure || ' uses it' FROM pg_depend d
WHERE d.classid = 'pg_proc'::regclass AND (d.refclassid = 'pg_class'::regclass AND d.refobjid = %(table)s::regclass
    OR d.refclassid = 'pg_type'::regclass AND d.refobjid IN (
        SELECT unnest(ARRAY[t.oid, t.typarray]) FROM pg_type t WHERE t.typrelid = %(table)s::regclass))
UNION ALL SELECT 'the rule ' || rulename || ' is on it' FROM pg_rewrite WHERE ev_class = %(table)s::regclass
UNION ALL SELECT 'the trigger ' || tgname || ' is on it' FROM pg_trigger
WHERE tgrelid = %(table)s::regclass AND NOT tgisinternal
UNION ALL SELECT 'it has row level security' FROM pg_class WHERE oid = %(table)s::regclass AND relrowsecurity
UNION ALL SELECT 'the publication ' || p.pubname || ' has it' FROM pg_publication_tables p
JOIN pg_namespace n ON n.nspname = p.schemaname JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename
WHERE c.oid = %(table)s::regclass
"""
_CONSTRAINTS = """
SELECT conname, pg_get_constraintdef(oid), contype::text, confrelid::regclass::text FROM pg_constraint
WHERE conrelid = %s::regclass AND contype IN ('p', 'u', 'x', 'f') ORDER BY contype = 'f', conname
"""
_INDEXES = """
SELECT c.relname, pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = %s::regclass AND NOT EXISTS (SELECT 1 FROM pg_constraint o WHERE o.conindid = i.indexrelid
    AND o.contype IN ('p', 'u', 'x') AND o.conrelid = i.indrelid) ORDER BY c.relname
"""
# Of identity columns (internal) and of serial ones, which are only owned.
_SEQUENCES = """
SELECT s.relname, a.attname, d.deptype::text FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE d.classid = 'pg_class'::regclass AND d.refobjid = %s::regclass AND d.deptype IN ('i', 'a') ORDER BY a.attnum
"""
_COLUMNS = r"""
SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated::text,
    regexp_replace(pg_get_expr(d.adbin, d.adrelid), '^nextval\(.*', 'a sequence')
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attname
"""
_CHECKS = """
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'c'
ORDER BY conname
"""
_GRANTS = """
SELECT 'GRANT ' || a.privilege_type || ' ON {shadow} TO '
    || CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END
    || CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = %s::regclass
UNION ALL SELECT 'GRANT ' || a.privilege_type || ' (' || quote_ident(t.attname) || ') ON {shadow} TO '
    || CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END
    || CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
FROM pg_attribute t, aclexplode(t.attacl) a WHERE t.attrelid = %s::regclass
"""
_OWNER = """
SELECT quote_ident(pg_get_userbyid(relowner)), pg_get_userbyid(relowner) = current_user,
    array_to_string(reloptions, ', ') FROM pg_class WHERE oid = %s::regclass
"""
# LIKE takes comments of columns, but not that of the table.
_COMMENT = """
SELECT 'COMMENT ON TABLE {shadow} IS ' || quote_literal(d) FROM obj_description(%s::regclass, 'pg_class') d
WHERE d IS NOT NULL
"""
_IDENTITY = """
SELECT c.relreplident::text, i.relname FROM pg_class c LEFT JOIN pg_index x ON x.indrelid = c.oid AND x.indisreplident
LEFT JOIN pg_class i ON i.oid = x.indexrelid WHERE c.oid = %s::regclass AND c.relreplident <> 'd'
"""
_INDEX = re.compile(r"^CREATE (UNIQUE )?INDEX .+? ON (?:ONLY )?.+? USING ", re.DOTALL)
_REFERENCES = re.compile(r"REFERENCES .+?\(")


class _Named(NamedTuple):
    """A constraint or an index of a table, under the name that migrations know."""

    name: str
    definition: str
    kind: str
    """As in ``pg_constraint.contype``; empty for an index that is no constraint."""
    references: str = ""


def obstacles(connection: BaseDatabaseWrapper, tables: Sequence[str]) -> list[str]:
    """See ``shadows``."""
    quote, found = connection.ops.quote_name, []
    own = [quote(table) for table in tables]
    for table in tables:
        rows = _rows(connection, _OBSTACLES, {"table": quote(table), "own": own})
        found += [f"{table}: {what}" for (what,) in rows]
    return found


def create(connection: BaseDatabaseWrapper, tables: Sequence[str]) -> None:
    """See ``shadows``."""
    quote = connection.ops.quote_name
    keys: list[str] = []
    for table in tables:
        live, shadow = quote(table), quote(shadow_of(table))
        (owner, is_mine, options), *_ = _rows(connection, _OWNER, [live])
        _run(connection, f"CREATE TABLE {shadow} (LIKE {live} INCLUDING ALL EXCLUDING INDEXES)")
        if options:
            _run(connection, f"ALTER TABLE {shadow} SET ({options})")
        for each in _named(connection, table):
            name = quote(_for_now(table, each.name))
            if not each.kind:
                _run(connection, _index(each.definition, name, shadow))
            elif each.kind != "f":
                _run(connection, f"ALTER TABLE {shadow} ADD CONSTRAINT {name} {each.definition}")
            else:
                keys.append(f"ALTER TABLE {shadow} ADD CONSTRAINT {name} {_to_shadow(connection, each, tables)}")
        named = shadow.replace("%", "%%")
        for (statement,) in (
            *_rows(connection, _COMMENT.format(shadow=named), [live]),
            *_rows(connection, _GRANTS.format(shadow=named), [live, live]),
        ):
            _run(connection, statement)
        for kind, index in _rows(connection, _IDENTITY, [live]):
            how = {"n": "NOTHING", "f": "FULL"}.get(kind) or f"USING INDEX {quote(_for_now(table, index))}"
            _run(connection, f"ALTER TABLE {shadow} REPLICA IDENTITY {how}")
        if not is_mine:
            _run(connection, f"ALTER TABLE {shadow} OWNER TO {owner}")
    for key in keys:
        _run(connection, key)


def swap(connection: BaseDatabaseWrapper, tables: Sequence[str]) -> None:
    """See ``shadows``."""
    quote = connection.ops.quote_name
    for table in tables:
        _run(connection, f"LOCK TABLE {quote(table)} IN ACCESS EXCLUSIVE MODE")
        _refuse_changed(connection, table)
    renames: list[str] = []
    for table in tables:
        live, shadow = quote(table), quote(shadow_of(table))
        drawn = {column: name for name, column, kind in _rows(connection, _SEQUENCES, [shadow]) if kind == "i"}
        for name, column, kind in _rows(connection, _SEQUENCES, [live]):
            if kind == "a":
                _run(connection, f"ALTER SEQUENCE {quote(name)} OWNED BY {shadow}.{quote(column)}")
            else:
                renames.append(f"ALTER SEQUENCE {quote(drawn[column])} RENAME TO {quote(name)}")
        renames.append(f"ALTER TABLE {shadow} RENAME TO {live}")
        for each in _named(connection, table):
            now, then = quote(_for_now(table, each.name)), quote(each.name)
            change = f"ALTER TABLE {live} RENAME CONSTRAINT {now}" if each.kind else f"ALTER INDEX {now} RENAME"
            renames.append(f"{change} TO {then}")
    _run(connection, f"DROP TABLE {', '.join(map(quote, tables))}")
    for rename in renames:
        _run(connection, rename)


def _refuse_changed(connection: BaseDatabaseWrapper, table: str) -> None:
    quote = connection.ops.quote_name
    columns = [_rows(connection, _COLUMNS, [quote(name)]) for name in (table, shadow_of(table))]
    wanted = {(_for_now(table, each.name), each.kind) for each in _named(connection, table)}
    there = {(each.name, each.kind) for each in _named(connection, shadow_of(table))}
    checks = [_rows(connection, _CHECKS, [quote(name)]) for name in (table, shadow_of(table))]
    if columns[0] != columns[1] or checks[0] != checks[1] or wanted != there:
        raise RebuildFailed(
            f"The table {table} has been changed since its rebuild began: the new one would not be what migrations "
            "have made. Begin anew with --restart."
        )


def _named(connection: BaseDatabaseWrapper, table: str) -> list[_Named]:
    quoted = connection.ops.quote_name(table)
    constraints = [_Named(*row) for row in _rows(connection, _CONSTRAINTS, [quoted])]
    return [*constraints, *(_Named(name, made, "") for name, made in _rows(connection, _INDEXES, [quoted]))]


def _index(definition: str, name: str, table: str) -> str:
    """Return the statement that makes an index under another name on another table."""
    return _INDEX.sub(lambda match: f"CREATE {match[1] or ''}INDEX {name} ON {table} USING ", definition)


def _to_shadow(connection: BaseDatabaseWrapper, key: _Named, tables: Sequence[str]) -> str:
    """Let a foreign key to another table of the same projection point to that one's shadow."""
    quote = connection.ops.quote_name
    own = [table for table in tables if key.references in (table, quote(table))]
    return _REFERENCES.sub(f"REFERENCES {quote(shadow_of(own[0]))}(", key.definition) if own else key.definition


def _for_now(table: str, name: str) -> str:
    """Return the name that an index or constraint of the shadow has until the swap."""
    return f"{sha256(f'{table} {name}'.encode()).hexdigest()[:24]}~rebuild"


def _run(connection: BaseDatabaseWrapper, sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql.replace("%", "%%") if "%" in sql else sql, [] if "%" in sql else None)


def _rows(connection: BaseDatabaseWrapper, sql: str, params: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall())
