"""What `salt sys.doc` and the loader need of every module of this extension."""

import inspect
import re

import pytest

from tests.support.loader import ROOT, load

FOLDERS = ("_modules", "_states", "_runners", "_beacons", "_output")
FILES = [(folder, path.stem) for folder in FOLDERS for path in sorted((ROOT / folder).glob("*.py"))]


def public(folder, name):
    """The functions that Salt's loader would offer."""
    module = load(folder, name)
    return {
        key: value
        for key, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not key.startswith("_")
    }


def called(folder, name, function):
    """What an operator types: Salt offers ``list_`` as ``list`` if ``__func_alias__`` says so."""
    return f"{name}.{getattr(load(folder, name), '__func_alias__', {}).get(function, function)}"


FUNCTIONS = [(folder, name, key) for folder, name in FILES for key in public(folder, name)]
SHOWN_BY_CLI = [case for case in FUNCTIONS if case[0] in ("_modules", "_runners")]
SHOWN_BY_YAML = [case for case in FUNCTIONS if case[0] == "_states"]


def test_the_folders_are_found():
    assert {folder for folder, _ in FILES} >= {"_modules", "_states", "_runners"}


@pytest.mark.parametrize("folder, name", FILES)
def test_module(folder, name):
    module = load(folder, name)
    assert inspect.getdoc(module), "says what it is for"
    assert module.__virtualname__ == name
    assert callable(module.__virtual__)


@pytest.mark.parametrize("folder, name", FILES)
def test_imports_nothing_that_salt_would_offer_as_a_function(folder, name):
    module = load(folder, name)
    strangers = [
        key
        for key, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ != module.__name__ and not key.startswith("_")
    ]
    assert strangers == []


@pytest.mark.parametrize("folder, name", FILES)
def test_an_alias_is_one_of_a_function_and_hides_no_other(folder, name):
    aliases = getattr(load(folder, name), "__func_alias__", {})
    functions = public(folder, name)
    assert set(aliases) <= set(functions)
    assert not set(aliases.values()) & set(functions)


def test_what_is_called_list_is_offered_as_list():
    assert called("_runners", "reprovision", "list_") == "reprovision.list"


@pytest.mark.parametrize("folder, name, function", SHOWN_BY_CLI)
def test_command_line_example(folder, name, function):
    text = inspect.getdoc(public(folder, name)[function]) or ""
    assert "CLI Example:" in text and ".. code-block:: bash" in text
    # The whole name: reprovision.list_ would not be found, nor would reprovision.lis.
    assert re.search(rf"{re.escape(called(folder, name, function))}(?!\w)", text.partition("CLI Example:")[2])


@pytest.mark.parametrize("folder, name, function", SHOWN_BY_YAML)
def test_state_example(folder, name, function):
    text = inspect.getdoc(public(folder, name)[function])
    assert text, "says what it asserts"
    examples = f"{text}\n{inspect.getdoc(load(folder, name))}"
    assert ".. code-block:: yaml" in examples and f"{name}." in examples.partition(".. code-block:: yaml")[2]
