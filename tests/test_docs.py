"""README.md and docs/*.md say what is there: links, files, variables, defaults and messages.

Their commands: test_doc_commands.py.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import importlib.util
import re
from pathlib import Path

import pytest

from doc_pages import FENCE, PAGES, ROOT, code_in, prose_of
from env_adapter import REGISTRY, get_env_adapter
from games.answers import find_action
from games.cases import AVAILABLE_CASES, load_case
from games.states import state_of
from metric_names import METRICS
from openspiel_adapter import OpenSpielSettings
from run_ledger import CONFIG_FILE

OPTIONS_OF_OTHERS = {
    "--enable-auto-tool-choice",
    "--logdir",
    "--max-model-len",
    "--privileged",
    "--served-model-name",
    "--tool-call-parser",
}
"""Of docker, tensorboard and vLLM."""
TREES = ("train", "tests", "docs", "data_processing", "benchmarks")
RUNTIME = re.compile(r"train/(models|artifacts|outputs|parquet|merged_model\w*)\b")
NOT_OURS = re.compile(RUNTIME.pattern + r"|train/verl/|.*__pycache__/")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def text_of(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def rows_in(text: str, first_heading: str) -> list[list[str]]:
    """The cells of every table row below this first heading."""
    rows, inside = [], False
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")] if line.startswith("|") else []
        if not cells:
            inside = False
        elif cells[0].strip() == first_heading:
            inside = True
        elif inside and not set(line) <= set("|- "):
            rows.append(cells)
    return rows


@functools.cache
def repository_files() -> list[str]:
    files = (str(path.relative_to(ROOT)) for tree in TREES for path in (ROOT / tree).rglob("*") if path.is_file())
    return sorted(file for file in files if not NOT_OURS.match(file))


@functools.cache
def sources() -> str:
    """The code that the pages speak of; a Python text that goes on in the next line is joined."""
    files = [file for file in repository_files() if re.fullmatch(r"(train|data_processing)/.+\.(sh|py|yaml)", file)]
    return re.sub(r'"\s*\n\s*[fr]?"', "", "\n".join((ROOT / file).read_text(encoding="utf-8") for file in files))


@functools.cache
def known_options() -> set[str]:
    files = [file for file in repository_files() if re.search(r"^(?!tests/).+\.(py|sh|sbatch)$", file)]
    texts = ((ROOT / file).read_text(encoding="utf-8") for file in files)
    return {option for text in texts for option in re.findall(r"--[a-z][\w-]+", text)}


@functools.cache
def documented_variables() -> dict[str, str]:
    """Variable → default, from .env.example."""
    return dict(re.findall(r"^#([A-Z][A-Z0-9_]*)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))


def slugs(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", prose_of(page)), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


# --- what a page names is there


@each_page
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", prose_of(page))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link}: {target} is not there"
        assert not anchor or anchor in slugs(target), f"{link}: {target.name} has no such heading"


@each_page
def test_every_file_and_directory_named_exists(page: Path) -> None:
    code = code_in(page)
    for name in set(re.findall(r"[\w./-]*\w\.(?:sh|py|yaml)\b", code)):
        package, _, rest = name.rpartition("site-packages/")[2].partition("/")
        spec = importlib.util.find_spec(package) if package in ("asyncio", "torch", "verl", "vllm") else None
        folders = (spec.submodule_search_locations or []) if spec else []
        ours = any(f"/{file}".endswith(f"/{name}") for file in repository_files())
        made = name == CONFIG_FILE  # by a run
        assert ours or made or any((Path(folder) / rest).is_file() for folder in folders), name
    for name in set(re.findall(rf"\b(?:{'|'.join(TREES)})/[\w./-]*\w(?![\w./*-])", code)):
        metric = any(name in (metric.name, *metric.sources) for metric in METRICS)
        assert metric or RUNTIME.match(name) or (ROOT / name).exists(), name


def test_the_readme_leads_to_every_page() -> None:
    linked = set(re.findall(r"\]\(docs/(\w+\.md)", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert linked == {page.name for page in PAGES if page.name != "README.md"}


def test_the_architecture_names_every_package() -> None:
    packages = {path.parent.name for path in (ROOT / "train/tools").glob("*/__init__.py")}
    assert packages <= set(re.findall(r"`train/tools/(\w+)`", text_of("architecture.md")))


def test_the_readme_names_every_script() -> None:
    files = [*(ROOT / "train/scripts").glob("*.sh"), *(ROOT / "data_processing").glob("*.py")]
    programs = {path.name for path in files if path.suffix == ".sh" or "__main__" in path.read_text(encoding="utf-8")}
    table = "\n".join(cells[0] for cells in rows_in((ROOT / "README.md").read_text(encoding="utf-8"), "script"))
    assert not programs - set(re.findall(r"[\w-]+\.(?:sh|py)", table))


def test_every_file_and_environment_in_the_picture_is_there() -> None:
    picture = text_of("data_way.svg")
    names = re.findall(r">([\w./*-]+\.(?:sh|py|yaml))<", picture)
    assert len(names) > 6
    for name in names:
        assert [file for file in repository_files() if fnmatch.fnmatch(f"/{file}", f"*/{name}")], name
    shown = re.findall(r">an adapter: ([^<]+)<", picture)[0]
    assert sorted(shown.split(", ")) == sorted(REGISTRY)


@each_page
def test_every_option_named_is_one_of_our_programs_or_of_one_that_is_known(page: Path) -> None:
    named = set(re.findall(r"(?<![\w-])--[a-z][\w-]+", code_in(page)))
    assert not named - OPTIONS_OF_OTHERS - known_options()


@each_page
def test_every_make_target_named_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z][a-z-]*)", code_in(page))) <= targets


@each_page
def test_every_variable_named_is_read_somewhere(page: Path) -> None:
    code = code_in(page)
    names = set(re.findall(r"\b[A-Z][A-Z0-9]*_[A-Z0-9_]+\b", code)) | set(re.findall(r"\b([A-Z][A-Z0-9]+)=", code))
    names -= {"NAME", "KEY"}
    unknown = {name for name in names - set(documented_variables()) if not re.search(rf"\b{name}\b", sources())}
    assert not unknown


@each_page
def test_no_page_speaks_of_the_machine_that_it_was_written_on(page: Path) -> None:
    found = re.findall(
        r"(?<![\w.…-])/(?:home|root|mnt|tmp|work)/|pypi\.|pythonhosted|artifactory|devpi", page.read_text()
    )
    assert not found


# --- what a page says is so


def test_the_table_of_variables_is_that_of_the_example_file() -> None:
    rows = {cells[0].strip("`"): cells[1] for cells in rows_in(text_of("training.md"), "variable")}
    assert list(rows) == [name for name in documented_variables() if name in rows]
    assert set(rows) == set(documented_variables())
    for name, default in documented_variables().items():
        if default:
            assert rows[name] == f"`{default}`", name
        else:
            assert rows[name] and not rows[name].startswith("`"), f"{name} has no default to quote"


def test_every_profile_and_recipe_is_described() -> None:
    text = text_of("training.md")
    profiles = {cells[0].strip("`") for cells in rows_in(text, "profile")}
    assert profiles == {path.stem for path in (ROOT / "train/config/profile").glob("*.yaml")}
    config = ROOT / "train/config"
    for path in config.rglob("*.yaml"):
        assert path.parent.name == "profile" or f"`{path.relative_to(config)}`" in text, path


def test_the_settings_and_games_are_those_of_the_adapter() -> None:
    text = text_of("environments.md")
    rows = {cells[0].strip("`"): cells[1] for cells in rows_in(text, "setting")}
    assert set(rows) == {field.name for field in dataclasses.fields(OpenSpielSettings)}
    defaults = get_env_adapter("openspiel", {"game_types": "tic_tac_toe"}).settings
    for name in ("num_tasks_per_case", "on_shortage", "seed", "reward_mode", "value_budget_ms"):
        assert rows[name] == f"{getattr(defaults, name):{'g' if name == 'value_budget_ms' else ''}}", name
    listed = [case for cells in rows_in(text, "`game_types`") for case in re.findall(r"`([^`]+)`", cells[1])]
    assert sorted(listed) == sorted(AVAILABLE_CASES)
    (hex_row,) = [cells[1] for cells in rows_in(text_of("training.md"), "you write") if cells[0] == "`hex`"]
    assert re.findall(r"(\d+)×", hex_row) == re.findall(r"hex\(board_size=(\d+)\)", " ".join(AVAILABLE_CASES))
    measured = [cells[0].strip("`") for cells in rows_in(text, "case")]
    assert sorted(measured) == sorted(AVAILABLE_CASES)


def test_the_example_tasks_and_the_answers_are_read_as_the_page_says() -> None:
    text = text_of("environments.md")
    examples = re.findall(r"task\s(\d+) of `([^`]+)`[^`]*?```\n(.*?)```", re.sub(r"`(\d|/|-)+`", "", text), re.DOTALL)
    assert [case for _, case, _ in examples] == ["tic_tac_toe", "leduc_poker", "backgammon"]
    for task_id, case, shown in examples:
        challenge = get_env_adapter("openspiel", {"game_types": case}).generate(int(task_id))
        lines = [
            line
            for message in challenge.messages
            for line in [message["role"], *("    " + line for line in message["content"].splitlines())]
        ]
        assert shown == "\n".join(lines) + "\n", case
    adapter = get_env_adapter("openspiel", {"game_types": "tic_tac_toe"})
    challenge = adapter.generate(7)
    assert adapter.evaluate("1", challenge).value == 0.5 and adapter.evaluate("4", challenge).value == 0
    assert repr(adapter.evaluate("1", challenge)) in text
    state = state_of("tic_tac_toe", challenge.extra["history"])
    answers = rows_in(text, "the model writes")
    assert len(answers) > 8
    for written, read in answers:
        response = written.strip("`").replace("\\n", "\n")
        action = find_action(response, load_case("tic_tac_toe"), state).action
        assert read == ("nothing" if action is None else str(action)), written


def test_every_error_message_quoted_is_in_the_code() -> None:
    messages = [cells[0] for cells in rows_in(text_of("troubleshooting.md"), "message")]
    assert len(messages) > 30
    for message in messages:
        parts = [part.strip() for part in message.strip("`").split("…") if part.strip()]
        assert parts and max(map(len, parts)) >= 10, f"too short to be found: {message}"
        assert not [part for part in parts if part not in sources()], message
