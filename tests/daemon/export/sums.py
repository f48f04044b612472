"""Adds up an export by country, as whoever reads it with DuckDB would; prints JSON."""

import json
import sys

import duckdb

form, folder = sys.argv[1:]
connection = duckdb.connect()
connection.execute("set threads = 2")
connection.execute("set enable_progress_bar = false")
connection.execute("set memory_limit = '1GB'")


def parquet(glob):
    return f"read_parquet('{folder}/{glob}.parquet', hive_partitioning = true)"


def ndjson(glob, more):
    sums = "bytes UBIGINT, packets UBIGINT"
    columns = {
        '"@timestamp"': "TIMESTAMP_NS",
        "source": f"STRUCT({sums})",
        "destination": f"STRUCT({sums}, geo STRUCT(country_iso_code VARCHAR))",
        "host": "STRUCT(name VARCHAR, id VARCHAR)",
        "geofenced": f"STRUCT({more})",
    }
    wanted = ", ".join(f"{name}: '{of}'" for name, of in columns.items())
    source = f"read_json('{folder}/{glob}.ndjson', format = 'newline_delimited', columns = {{{wanted}}}, hive_partitioning = true)"
    return f"""(select "@timestamp" as timestamp, source.bytes as source_bytes,
        source.packets as source_packets, destination.bytes as destination_bytes,
        destination.geo.country_iso_code as destination_geo_country_iso_code,
        host.name as host_name, geofenced.phase as geofenced_phase, geofenced.flows as geofenced_flows, day,
        host_name as host
        from {source})"""


FLOWS, ROLLUPS = "day=*/*/*", "rollups/day=*/*/*"
if form == "parquet":
    flows, rollups = parquet(FLOWS), parquet(ROLLUPS)
else:
    flows = ndjson(FLOWS, "phase VARCHAR, flows UBIGINT")
    rollups = ndjson(ROLLUPS, "phase VARCHAR, flows UBIGINT")

rows = connection.execute(f"""
    select country, sum(flows)::BIGINT, sum(sent)::BIGINT, sum(packets)::BIGINT, sum(received)::BIGINT from (
        select destination_geo_country_iso_code as country, (geofenced_phase = 'sent')::INT as flows,
            source_bytes as sent, source_packets as packets, destination_bytes as received from {flows}
        union all
        select destination_geo_country_iso_code, geofenced_flows, source_bytes, source_packets, destination_bytes
        from {rollups})
    group by country""").fetchall()

# Each row is in the folder of its day and host, and by time within it.
strayed = connection.execute(f"""
    select count(*) from {flows}
    where strftime(timestamp, '%Y-%m-%d') <> day::VARCHAR or host_name <> host""").fetchone()[0]
types = {}
if form == "parquet":
    types = {name: of for name, of, *_ in connection.execute(f"describe select * from {flows}").fetchall()}
print(json.dumps({"sums": {row[0]: row[1:] for row in rows}, "strayed": strayed, "types": types}))
