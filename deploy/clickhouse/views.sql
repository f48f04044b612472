-- What the questions of ../lake/questions ask: the same names as in ../duckdb/lake.sql.

CREATE OR REPLACE VIEW states AS SELECT *, day FROM all_states FINAL;

-- Each flow once, as it was told last: none follows a state that has an end.
CREATE OR REPLACE VIEW flows AS
SELECT *, day FROM all_states FINAL WHERE event_end IS NOT NULL
UNION ALL
SELECT open.* FROM (
    SELECT *, day FROM all_states FINAL WHERE event_end IS NULL
    ORDER BY geofenced_revision DESC, ledger_block DESC LIMIT 1 BY host_name, event_id) AS open
LEFT ANTI JOIN (
    SELECT host_name, event_id FROM all_states FINAL
    WHERE event_end IS NOT NULL AND geofenced_revision > 0) AS ended
USING (host_name, event_id);

CREATE OR REPLACE VIEW violations AS
SELECT *, day FROM all_states FINAL WHERE geofenced_violation
ORDER BY geofenced_revision DESC, ledger_block DESC LIMIT 1 BY host_name, event_id;

CREATE OR REPLACE VIEW rollups AS SELECT * FROM all_rollups FINAL;

CREATE OR REPLACE VIEW stations AS SELECT * FROM file('/srv/lake/stations/stations.parquet', 'Parquet');

CREATE OR REPLACE VIEW gaps AS
SELECT * FROM file('/srv/lake/gaps/gaps.parquet', 'Parquet') WHERE host_name IS NOT NULL;
