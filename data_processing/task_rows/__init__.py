"""Tasks of an environment as rows of a file: how they look (row_layouts.py), how a long run goes on (kept_rows.py), and
what their answers are worth (answered_task.py, row_scores.py, score_tally.py).
"""
