"""Whether a run fits into memory, before anything is loaded: one line, and a refusal of what certainly does not.

    python train/tools/memory_plan.py train/config openspiel trainer.total_training_steps=10
    memory   about 48 of 80 GB a GPU at the peak (rollout), 33 of 126 GB of RAM; ±20 %

The recipe is composed as for train/scripts/lib/check_recipe.py, from the same variables. All parts are on stderr with
--table. Exit status 2, and proposals that were planned again, where it cannot fit; MEMORY_PLAN=0 says so and starts it.
How the parts are computed: train/tools/memory; how well, against measured runs: benchmarks/memory_plan.py.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from memory import GIB
from memory.machine import Machine, gpu_memory, ram_limit
from memory.shape import Shape, ShapeError, read_config, read_shape

LIBRARY = Path(__file__).resolve().parents[1] / "scripts" / "lib"


def say(text: str) -> None:
    print(text, file=sys.stderr)


class Composed:
    """The recipe's settings, with changes or without."""

    def __init__(self, config_dir: Path, name: str, overrides: list[str], resolved: Path | None = None) -> None:
        self.config_dir, self.name, self.overrides = config_dir, name, overrides
        self._resolved = resolved.read_text(encoding="utf-8") if resolved else ""
        self._composed: dict[str | None, object] = {}
        self._known: dict[tuple, object] = {}

    def config(self):  # -> DictConfig, which takes a second to import
        """Without changes, resolved."""
        from omegaconf import OmegaConf

        if self._resolved:
            return OmegaConf.create(self._resolved)
        from check_recipe import compose_recipe

        return compose_recipe(self.config_dir, self.name, self.overrides)

    def _changed(self, changes: Sequence):
        """With changes, which are merged into the recipe: to compose it for each of twenty proposals would take a
        second every time. Only TUNING chooses files, so each of its values is composed."""
        from check_recipe import compose_recipe
        from omegaconf import OmegaConf

        tuning = os.environ.get("TUNING")
        if tuning not in self._composed:
            self._composed[tuning] = compose_recipe(self.config_dir, self.name, self.overrides, resolve=False)
        pairs = OmegaConf.from_dotlist([text for change in changes for text in change.overrides])
        return OmegaConf.merge(self._composed[tuning], pairs)

    def __call__(self, changes: Sequence = ()):
        from memory.settings import read_settings

        key = tuple(changes)
        if key in self._known:
            return self._known[key]
        before = dict(os.environ)
        try:
            os.environ.update({key: value for change in changes for key, value in change.environment})
            config = self._changed(changes) if changes else self.config()
            self._known[key] = read_settings(config, os.environ)
        finally:
            os.environ.clear()
            os.environ.update(before)
        return self._known[key]


def summary(plan, machine: Machine) -> str:
    """The one line, without its label."""
    from memory.plan import ERROR

    parts = []
    if plan.phases:
        total = f" of {machine.gpu / GIB:.0f}" if machine.gpu else ""
        parts.append(f"about {plan.peak.size / GIB:.0f}{total} GB a GPU at the peak ({plan.peak.name})")
    total = f" of {machine.ram / GIB:.0f}" if machine.ram else ""
    when = "" if plan.phases else f" at the peak ({plan.host.name})"
    parts.append(f"{'' if parts else 'about '}{plan.host.size / GIB:.0f}{total} GB of RAM{when}")
    return f"{', '.join(parts)}; ±{ERROR:.0%}".replace("%", " %")


def table(plan) -> str:
    """Every part of every phase, in GB."""
    lines = []
    for phase in [*plan.phases, plan.host]:
        lines.append(f"  {phase.name:<28} {phase.size / GIB:7.1f} GB")
        lines += [f"    {name:<26} {size / GIB:7.1f}" for name, size in phase.parts.items() if size >= 0.05 * GIB]
    if plan.engine and plan.phases:
        engine = plan.engine
        cache = max(0.0, engine.cache) / GIB
        sizes = f"weights {engine.weights / GIB:.1f}, work {engine.working / GIB:.1f}, cache {cache:.1f}"
        room = f"{engine.sequences} rows of {engine.row} tokens at once"
        lines.append(f"  the engine's {engine.budget / GIB:.1f} GB: {sizes}, for {room}")
    return "\n".join(lines)


def judge(recipe: Composed, shape: Shape, machine: Machine, *, parts: bool, refuse: bool) -> int:
    """Say the plan; 2 where it is refused, else 0."""
    from memory.plan import make_plan
    from memory.proposals import propose

    plan = make_plan(shape, recipe(), machine)
    say(f"memory   {summary(plan, machine)}")
    if parts:
        say(table(plan))
    if not plan.problems:
        return 0
    certain = [problem.words for problem in plan.problems if problem.certain]
    proposals = propose(recipe, shape, machine)
    advice = f": {'; or '.join(proposals)}" if proposals else ": use a smaller model or more GPUs"
    if not certain:
        reasons = "; ".join(problem.words for problem in plan.problems)
        say(f"memory   tight: {reasons}. If it runs out{advice}")
    elif refuse:
        say(
            f"error: this run does not fit: it wants {'; '.join(certain)}. What fits{advice} "
            "(MEMORY_PLAN=0 starts it all the same)"
        )
        return 2
    else:
        say(f"memory   does not fit, and MEMORY_PLAN=0: it wants {'; '.join(certain)}. What fits{advice}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config_dir", type=Path)
    parser.add_argument("recipe")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--config", type=Path, help="the composed recipe as YAML, where there is one already")
    parser.add_argument("--table", action="store_true", help="all parts, on stderr")
    parser.add_argument(
        "--gpu-gb", default="", help="memory of the smallest GPU here; without it, what PROFILE is made for"
    )
    parser.add_argument(
        "--ram-gb", type=float, help="default: this machine's or its control group's, if it has the GPUs"
    )
    options = parser.parse_args(arguments)
    sys.path.append(str(LIBRARY))
    recipe = Composed(options.config_dir, options.recipe, options.overrides, options.config)
    named = os.environ.get("AGENT_MODEL_PATH", "")
    try:
        if named and not any("model.path=" in text for text in options.overrides):
            read_config(Path(named))  # before anything slow is imported
        config = recipe.config()
        model = (config.actor_rollout_ref if "actor_rollout_ref" in config else config).model
        shape = read_shape(Path(model.path).expanduser())
    except ShapeError as error:
        say(f"memory   not planned: {error}")
        return 0
    profile = os.environ.get("PROFILE", "")
    cpu = config.trainer.device == "cpu"
    gpu = 0.0 if cpu else gpu_memory(options.gpu_gb, profile)
    elsewhere = not (cpu or options.gpu_gb or options.ram_gb)  # a dry run for another machine
    ram = 0.0 if elsewhere else options.ram_gb * GIB if options.ram_gb else ram_limit()
    refuse = os.environ.get("MEMORY_PLAN", "1") != "0"
    return judge(recipe, shape, Machine(gpu, ram), parts=options.table, refuse=refuse)


if __name__ == "__main__":
    sys.exit(main())
