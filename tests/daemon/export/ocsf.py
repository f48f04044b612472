"""Validates each line of an export by the published schema of OCSF; prints how many lines, and what is wrong."""

import glob
import json
import sys

from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

version, folder = sys.argv[1:]
schema = OcsfJsonSchemaEmbedded(get_ocsf_schema(version=version))
name = schema.lookup_class_name_from_uid(class_uid=4001)
validator = Draft202012Validator(schema.get_class_schema(class_name=name, profiles=["host"]))
lines, wrong = 0, []
for file in glob.glob(f"{folder}/**/*.ndjson", recursive=True):
    for line in open(file, encoding="utf-8"):
        lines += 1
        event = json.loads(line)
        for error in validator.iter_errors(event):
            wrong.append(f"{'/'.join(map(str, error.path))}: {error.message[:300]}")
        if event["type_uid"] != event["class_uid"] * 100 + event["activity_id"]:
            wrong.append("type_uid")
        if event["metadata"]["version"] != version or event["metadata"]["profiles"] != ["host"]:
            wrong.append("metadata")
print(json.dumps({"lines": lines, "wrong": wrong[:20]}))
