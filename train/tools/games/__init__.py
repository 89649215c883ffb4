"""OpenSpiel games as single decisions: the games, the states, the prompt, the answer, and what a move is worth.

case = load_case("hex(board_size=5)")                       # cases.py
history = StateTable(case, seed=0).history(7)               # states.py, such as (7, 19, 18, 4)
state = play(case, history)
build_messages(case, state)                                 # prompts.py, with the words of rules.py
find_action("Answer: b3", case, state).action               # answers.py: 11
action_value(case.name, "7 19 18 4", 11, simulations=2000)  # values.py: 0.66
"""
