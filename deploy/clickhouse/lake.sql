-- What the questions of ../lake/questions ask, of the lake as it lies, without tables: nothing is put in, and each
-- record is there once already. The server must be allowed to read the files (user_files_path), as clickhouse local is;
-- from a bucket: s3('https://BUCKET/flows/*/*.parquet', 'Parquet') in place of file(...).

CREATE OR REPLACE VIEW states AS
SELECT *, toDate(timestamp, 'UTC') AS day FROM file('/srv/lake/flows/*/*.parquet', 'Parquet')
SETTINGS use_hive_partitioning = 0;

-- Each flow once, as it was told last: none follows a state that has an end.
CREATE OR REPLACE VIEW flows AS
SELECT * FROM states WHERE event_end IS NOT NULL
UNION ALL
SELECT open.* FROM (
    SELECT * FROM states WHERE event_end IS NULL
    ORDER BY geofenced_revision DESC, ledger_block DESC LIMIT 1 BY host_name, event_id) AS open
LEFT ANTI JOIN (
    SELECT host_name, event_id FROM states
    WHERE event_end IS NOT NULL AND geofenced_revision > 0) AS ended
USING (host_name, event_id);

-- Such rows have groups of their own in each file: of the others nothing is read.
CREATE OR REPLACE VIEW violations AS
SELECT * FROM states WHERE geofenced_violation
ORDER BY geofenced_revision DESC, ledger_block DESC LIMIT 1 BY host_name, event_id;

CREATE OR REPLACE VIEW rollups AS
SELECT * FROM file('/srv/lake/rollups/*/*.parquet', 'Parquet') SETTINGS use_hive_partitioning = 0;

CREATE OR REPLACE VIEW stations AS SELECT * FROM file('/srv/lake/stations/stations.parquet', 'Parquet');

CREATE OR REPLACE VIEW gaps AS
SELECT * FROM file('/srv/lake/gaps/gaps.parquet', 'Parquet') WHERE host_name IS NOT NULL;
