"""Runs in a Python that has swebench, and answers what swebench knows of a row: see published_rows.py.

    {"do": "version"}                                  → {"version": "5.0.2"}
    {"do": "recipe", "row": {"instance_id": …}}        → {"image": "swebench/sweb.eval…", "eval_script": "#!/bin/bash…"}
    {"do": "read", "row": {…}, "log": "PASSED a::b"}   → {"statuses": {"a::b": "PASSED"},
                                                          "reports": {"a::b": {"PASSED": 1}}}

One JSON object a line, in and out. This file is of no package and imports none of ours: that Python may be another.
"""

import json
import os
import sys
from collections import Counter, defaultdict

FIELDS_OF_5 = ("image", "eval_script", "log_parser", "eval_type")


def version(request):
    import importlib.metadata

    return {"version": importlib.metadata.version("swebench")}


def is_new(row):
    """Rows of swebench 5 say all of it themselves."""
    return all(row.get(field) for field in FIELDS_OF_5)


def old_spec(row):
    """As swebench 4's make_test_spec, without what is only for building an image: that part needs the network."""
    from swebench.harness.constants import MAP_REPO_TO_EXT, MAP_REPO_VERSION_TO_SPECS
    from swebench.harness.test_spec.create_scripts import make_eval_script_list
    from swebench.harness.test_spec.test_spec import TestSpec

    repo, number = row["repo"], row["version"]
    if number not in MAP_REPO_VERSION_TO_SPECS.get(repo, {}):
        raise LookupError(f"swebench {version({})['version']} knows no version {number!r} of {repo}")
    specs = MAP_REPO_VERSION_TO_SPECS[repo][number]
    script = make_eval_script_list(row, specs, "testbed", "/testbed", row["base_commit"], row["test_patch"])
    return TestSpec(
        instance_id=row["instance_id"],
        repo=repo,
        version=number,
        repo_script_list=[],
        env_script_list=[],
        eval_script_list=script,
        arch="x86_64",
        FAIL_TO_PASS=[],
        PASS_TO_PASS=[],
        language=MAP_REPO_TO_EXT[repo],
        docker_specs=specs.get("docker_specs", {}),
        namespace="swebench",
    )


def spec_and_parser(row):
    found = version({})["version"]
    if is_new(row):
        if int(found.split(".")[0]) < 5:
            raise LookupError(f"{row['instance_id']} is a row of swebench 5, and {found} is installed")
        from swebench.harness.log_parsers import PARSER_REGISTRY
        from swebench.harness.utils import make_test_spec

        if row["log_parser"] not in PARSER_REGISTRY:
            raise LookupError(f"swebench {found} has no log_parser {row['log_parser']!r}")
        return make_test_spec(row), PARSER_REGISTRY[row["log_parser"]]
    if int(found.split(".")[0]) >= 5:
        raise LookupError(f"{row['instance_id']} has no image of its own: swebench 4.1.0 knows it, not {found}")
    from swebench.harness.log_parsers import MAP_REPO_TO_PARSER

    return old_spec(row), MAP_REPO_TO_PARSER[row["repo"]]


def recipe(request):
    row = request["row"]
    spec, _ = spec_and_parser(row)
    if is_new(row):
        return {"image": row["image"], "eval_script": row["eval_script"]}
    return {"image": spec.instance_image_key, "eval_script": spec.eval_script}


def read(request):
    """Statuses as swebench's parser reads the log, and how often each line of it reports a test on its own."""
    spec, parser = spec_and_parser(request["row"])
    reports = defaultdict(Counter)
    for line in request["log"].split("\n"):
        for name, status in parser(line, spec).items():
            reports[name][status] += 1
    return {"statuses": parser(request["log"], spec), "reports": reports}


def main():
    # Whatever swebench prints while it is imported is no answer.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin.buffer:
        request = json.loads(line)
        try:
            answer = {"version": version, "recipe": recipe, "read": read}[request["do"]](request)
        except Exception as error:  # noqa: BLE001, it is told to who asked, who raises EnvError
            answer = {"fault": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
