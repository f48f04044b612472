"""Whether the rows of each Parquet file are by time, and each group of rows says its bounds; prints JSON."""

import glob
import json
import sys

import duckdb

connection = duckdb.connect()
connection.execute("set threads = 2")
connection.execute("set enable_progress_bar = false")
files = sorted(glob.glob(f"{sys.argv[1]}/day=*/host=*/*.parquet"))
unordered, groups, bounds = 0, 0, 0
for file in files:
    unordered += connection.execute(f"""select count(*) from (
        select timestamp < lag(timestamp) over (order by file_row_number) as is_back
        from read_parquet('{file}', file_row_number = true)) where is_back""").fetchone()[0]
    meta = connection.execute(f"""select count(*), count(stats_min_value) from parquet_metadata('{file}')
        where path_in_schema = 'timestamp'""").fetchone()
    groups, bounds = groups + meta[0], bounds + meta[1]
print(json.dumps({"files": len(files), "unordered": unordered, "groups": groups, "bounds": bounds}))
