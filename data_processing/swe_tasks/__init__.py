"""synthesize_swe_tasks.py's machinery: where tasks come from (source_repo.py, layout.py), how they are made
(operators.py, mutants.py, commits.py), what makes one valid (bench.py, call_map.py), how it is told (statements.py),
and how they are kept (task_files.py).
"""
