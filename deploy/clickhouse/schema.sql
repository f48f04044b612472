-- Tables of the lake in ClickHouse. A record is told apart by where it stands in which ledger: put in twice, it is
-- there once, whenever that is. (Deduplication of inserts forgets after days; a station may be away for a month.)
--
-- clickhouse client --multiquery < schema.sql; then insert.sql, as often as you like; then views.sql.

CREATE TABLE IF NOT EXISTS all_states
(
    day Date MATERIALIZED toDate(timestamp, 'UTC'),
    timestamp DateTime64(9, 'UTC'),
    event_id String,
    event_end Nullable(DateTime64(9, 'UTC')),
    geofenced_last_seen DateTime64(9, 'UTC'),
    geofenced_revision UInt32,
    host_name LowCardinality(String),
    network_transport LowCardinality(Nullable(String)),
    source_ip Nullable(String),
    source_bytes UInt64,
    source_packets UInt64,
    destination_ip Nullable(String),
    destination_port Nullable(UInt16),
    destination_bytes UInt64,
    destination_domain Nullable(String),
    destination_geo_country_iso_code LowCardinality(Nullable(String)),
    destination_as_number Nullable(UInt32),
    destination_as_organization_name LowCardinality(Nullable(String)),
    process_pid Nullable(UInt32),
    process_name LowCardinality(Nullable(String)),
    process_executable LowCardinality(Nullable(String)),
    process_command_line Nullable(String),
    process_hash_sha256 LowCardinality(Nullable(String)),
    user_id LowCardinality(Nullable(String)),
    user_name LowCardinality(Nullable(String)),
    service_name LowCardinality(Nullable(String)),
    geofenced_verdict LowCardinality(String),
    geofenced_certainty LowCardinality(String),
    geofenced_reason LowCardinality(String),
    geofenced_violation Bool,
    geofenced_phase LowCardinality(String),
    geofenced_operator_country LowCardinality(Nullable(String)),
    geofenced_policy_sha256 LowCardinality(Nullable(String)),
    ledger_origin LowCardinality(String),
    ledger_block UInt64,
    ledger_entry UInt32
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(timestamp)
ORDER BY (ledger_origin, ledger_block, ledger_entry);

CREATE TABLE IF NOT EXISTS all_rollups
(
    timestamp DateTime64(9, 'UTC'),
    host_name LowCardinality(String),
    process_executable LowCardinality(Nullable(String)),
    user_name LowCardinality(Nullable(String)),
    destination_geo_country_iso_code LowCardinality(Nullable(String)),
    geofenced_verdict LowCardinality(String),
    geofenced_flows UInt64,
    source_bytes UInt64,
    destination_bytes UInt64,
    ledger_origin LowCardinality(String),
    ledger_block UInt64,
    ledger_entry UInt32
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(timestamp)
ORDER BY (ledger_origin, ledger_block, ledger_entry);

-- The first time that a station reached a country, by what and whose: the least of all, so that a row that comes
-- twice changes nothing.
CREATE TABLE IF NOT EXISTS first_contact
(
    host_name LowCardinality(String),
    country LowCardinality(String),
    operator LowCardinality(String),
    program LowCardinality(String),
    first SimpleAggregateFunction(min, DateTime64(9, 'UTC'))
)
ENGINE = AggregatingMergeTree
ORDER BY (country, operator, program, host_name);

CREATE MATERIALIZED VIEW IF NOT EXISTS to_first_contact TO first_contact AS
SELECT
    host_name,
    ifNull(destination_geo_country_iso_code, '') AS country,
    ifNull(destination_as_organization_name, '') AS operator,
    ifNull(process_executable, '') AS program,
    min(timestamp) AS first
FROM all_states
GROUP BY host_name, country, operator, program;

-- Flows by country, operator, program and day: each flow is counted once however often it is told and put in.
CREATE TABLE IF NOT EXISTS by_day
(
    day Date,
    country LowCardinality(String),
    operator LowCardinality(String),
    program LowCardinality(String),
    verdict LowCardinality(String),
    flows AggregateFunction(uniq, LowCardinality(String), String)
)
ENGINE = AggregatingMergeTree
ORDER BY (day, country, operator, program, verdict);

CREATE MATERIALIZED VIEW IF NOT EXISTS to_by_day TO by_day AS
SELECT
    toDate(timestamp, 'UTC') AS day,
    ifNull(destination_geo_country_iso_code, '') AS country,
    ifNull(destination_as_organization_name, '') AS operator,
    ifNull(process_executable, '') AS program,
    geofenced_verdict AS verdict,
    uniqState(host_name, event_id) AS flows
FROM all_states
GROUP BY day, country, operator, program, verdict;
