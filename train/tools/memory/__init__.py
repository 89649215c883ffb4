"""How much memory a run needs, part by part: the model's shape, the recipe's settings, trainer, rollout and machine.

    shape, settings = read_shape(Path("train/models/Qwen/Qwen3-4B")), read_settings(config)
    plan = make_plan(shape, settings, Machine(gpu=80 * GIB, ram=128 * GIB))
    plan.peak.name, plan.peak.size / GIB        # ('update', 31.2)

All sizes are bytes. Nothing here reads a weight, starts a process or needs a GPU.
"""

GIB = 2**30
