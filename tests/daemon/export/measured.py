"""Runs a command; prints its exit code and the most memory it held, in bytes, as JSON."""

import json
import resource
import subprocess
import sys

code = subprocess.run(sys.argv[1:]).returncode
print(json.dumps({"code": code, "bytes": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024}))
