-- The lake as DuckDB reads it, where it lies: cd /srv/lake && duckdb -init /usr/share/geofenced-fleet/duckdb/lake.sql
-- Then any of ../lake/questions/*.sql: duckdb -init .../lake.sql < 01-....sql

-- Each state that a station stored of a flow, once. (Where a later version wrote other columns, union_by_name = true;
-- it opens each file before the first row.)
create or replace view states as
  select * from read_parquet('flows/*/*.parquet', hive_partitioning = true);

-- Each flow once, as it was told last: none follows a state that has an end.
create or replace view flows as
  select * from states where event_end is not null
  union all by name
  select * from (
    select * from states where event_end is null
    qualify row_number() over (
      partition by host_name, event_id order by geofenced_revision desc, ledger_block desc) = 1) as open
  where not exists (
    select 1 from states as ended
    where ended.event_end is not null and ended.geofenced_revision > 0
      and ended.host_name = open.host_name and ended.event_id = open.event_id);

-- What was sent where it must not. Such rows have groups of their own in each file: of the others nothing is read.
create or replace view violations as
  select * from states where geofenced_violation
  qualify row_number() over (
    partition by host_name, event_id order by geofenced_revision desc, ledger_block desc) = 1;

-- What is only added up: rows of one hour, program and country add.
create or replace view rollups as
  select * from read_parquet('rollups/*/*.parquet', hive_partitioning = true);

-- What stations noted of themselves.
create or replace view notices as
  select * from read_parquet('notices/*/*.parquet', hive_partitioning = true);

-- How the fleet is, and the times for which silence proves nothing.
create or replace view stations as select * from read_parquet('stations/stations.parquet');
create or replace view gaps as
  select * from read_parquet('gaps/gaps.parquet') where host_name is not null;
