"""The SQL of the storm. Nothing here chooses a position."""

from __future__ import annotations

LOG = "eventsourcing_app_storedevent"
SEQUENCE = f"{LOG}_position_seq"

APPEND = f"""
INSERT INTO {LOG} (event_id, stream_type, stream_key, version, type, schema_version, data, metadata, actor,
                   correlation_id, recorded_at, hash)
SELECT gen_random_uuid(), 'storm', %(stream)s, %(version)s::bigint + n, 'storm.happened', 1, '{{}}', '{{}}', '', '',
       clock_timestamp(), '' FROM generate_series(1, %(rows)s) AS n
RETURNING position
"""
READ = f"""
SELECT position, stream_key, version FROM {LOG} WHERE position > %s AND position <= %s ORDER BY position
"""
HOLDERS = f"""
SELECT virtualtransaction FROM pg_locks
WHERE database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND relation = '{LOG}'::regclass AND mode = 'RowExclusiveLock' AND granted
"""
