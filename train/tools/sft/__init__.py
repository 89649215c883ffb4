"""Data for supervised fine-tuning: from a row of a parquet file to token ids and the mask of what is trained.

conversation = read_conversation(row, layout)               # conversations.py: columns, faults of a row
samples = ChatTokenizer(tokenizer).samples(conversation)    # loss_mask.py: the chat template, the mask
samples, fault = fit(samples, 2048, "drop")                 # lengths.py: over-long ones
table = tokenise(files, …)                                  # token_table.py: all rows, on disk, memory-mapped
train_on_from_epoch_ends()                                  # resume.py: verl's checkpoints at the end of an epoch
"""
