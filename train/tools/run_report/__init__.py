"""The page of a training run, or of two compared, and its main figures: `train/scripts/report.sh`.

view = read_view(find_run("my-run", root), root, "run1")    # contents.py, out of config.py and samples.py
page = make_run_page([view])                                # page.py, out of charts.py, tables.py and starts.py

`run_record.py` reads what a run has left in its directory.
"""
