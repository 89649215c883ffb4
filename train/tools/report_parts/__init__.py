"""What the pages of both reports are made of, that of a run and that of two evaluations; a model card has the numbers.

fill_page(title, subtitle, sections, footer)        # page.py: template.html, escaped text, small tables
svg(760, 300, frame.axes("training step"), label)   # frame.py: axes, and what a picture is made of
signed_interval(gain)                               # numbers.py: '+0.059 [+0.023, +0.096]'
"""
