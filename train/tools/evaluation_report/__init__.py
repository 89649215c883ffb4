"""The page of two evaluations, before training and after it; `train/tools/report.py` reads them and is the command.

contents = Contents(title, before, after, compare(before, after), log)      # contents.py: verdict, notes, samples
page = make_page(contents)                                                  # page.py, with the pictures of charts.py
"""
