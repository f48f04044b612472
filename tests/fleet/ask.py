"""Asks an engine the questions of deploy/lake/questions over a lake, and prints what it answers as JSON.

ask.py duckdb|clickhouse|clickhouse-files LAKE DEPLOY [SQL]: each question by its name, rows of texts, and the seconds it took;
with SQL, that alone.
"""

import json
import os
import pathlib
import sys
import time

engine, lake, deploy = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]).resolve()
os.chdir(lake)


def statements(path):
    lines = [line for line in path.read_text().splitlines() if not line.startswith("--")]
    return [it.strip() for it in "\n".join(lines).split(";") if it.strip()]


if engine == "duckdb":
    import duckdb

    connection = duckdb.connect()
    for statement in statements(deploy / "duckdb/lake.sql"):
        connection.execute(statement)

    def ask(sql):
        rows = connection.execute(sql).fetchall()
        return [["" if it is None else str(it) for it in row] for row in rows]

else:
    from chdb import session

    connection = session.Session()
    began = time.monotonic()
    for name in ["lake"] if engine == "clickhouse-files" else ["schema", "insert", "views"]:
        for statement in statements(deploy / f"clickhouse/{name}.sql"):
            connection.query(statement.replace("/srv/lake", os.getcwd()))
    print(f"      put in: {time.monotonic() - began:.1f} s", file=sys.stderr)

    def ask(sql):
        text = str(connection.query(sql, "JSONCompactStringsEachRow"))
        rows = [json.loads(line) for line in text.splitlines() if line]
        return [["" if it is None else it for it in row] for row in rows]


answers = {}
if len(sys.argv) > 4:
    answers["sql"] = {"rows": ask(sys.argv[4])}
else:
    for path in sorted((deploy / "lake/questions").glob("*.sql")):
        began = time.monotonic()
        rows = ask(statements(path)[0])
        answers[path.stem] = {"rows": rows, "seconds": round(time.monotonic() - began, 3)}
json.dump(answers, sys.stdout)
