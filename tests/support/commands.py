"""Commands as people type them, held against what they call: Salt's own options, the function, its arguments."""

import functools
import inspect
import optparse
import re
import shlex

import salt.config
import salt.loader
import salt.minion
import salt.utils.args
import salt.utils.parsers

from tests.support.loader import ROOT, load

PARSERS = {
    "salt": salt.utils.parsers.SaltCMDOptionParser,
    "salt-run": salt.utils.parsers.SaltRunOptionParser,
    "salt-call": salt.utils.parsers.SaltCallOptionParser,
}
# [RUN] may be left out, or given.
MAY_BE_LEFT_OUT = re.compile(r"\[([A-Z]+)\]")


class Wrong(Exception):
    """This cannot be typed so."""


@functools.cache
def _salts_own(kind):
    """Salt's functions. Its loader calls what is loaded by its alias, and leaves out what is not available."""
    opts = salt.config.DEFAULT_MASTER_OPTS if kind == "_runners" else salt.config.DEFAULT_MINION_OPTS
    opts = {**opts, "grains": {}, "extension_modules": ""}
    return salt.loader.runner(opts) if kind == "_runners" else salt.loader.minion_mods(opts)


def offered(kind, module):
    """{name: function} that this project's module offers, by the names that Salt gives them."""
    own = load(kind, module)
    aliases = getattr(own, "__func_alias__", {})
    return {aliases.get(name, name): found for name, found in vars(own).items()
            if inspect.isfunction(found) and found.__module__ == own.__name__ and not name.startswith("_")}


def function(kind, dotted):
    """What a dotted name calls: this project's own, else Salt's."""
    module, _, called = dotted.partition(".")
    own = (ROOT / kind / f"{module}.py").exists()
    if own and called in offered(kind, module):
        return offered(kind, module)[called]
    if own or dotted not in _salts_own(kind):
        raise Wrong(f"there is no {dotted} {'in ' + kind if own else 'in Salt'}")
    return _salts_own(kind)[dotted]


def words(line):
    return shlex.split(MAY_BE_LEFT_OUT.sub(r"\1", line), comments=True)


def called(line):
    """[(kind, dotted name, arguments)] of a line that begins with salt, salt-run or salt-call; none asks for help."""
    program, *rest = words(line)
    try:
        # Not Salt's parse_args, which would read a configuration.
        options, rest = optparse.OptionParser.parse_args(PARSERS[program](), rest)
    except SystemExit:
        raise Wrong(f"{program} has no such option: {line}") from None
    if getattr(options, "doc", False):
        return []
    if program == "salt":
        rest = rest[1:]
    if not rest:
        raise Wrong(f"it calls nothing: {line}")
    kind = "_runners" if program == "salt-run" else "_modules"
    found = [(kind, rest[0], rest[1:])]
    if found[0][:2] == ("_runners", "salt.cmd"):
        found.append(("_modules", rest[1], rest[2:]))
    return found


def bound(kind, dotted, arguments):
    """The arguments by name, read and refused as Salt does it before it calls."""
    target = function(kind, dotted)
    positional, by_name = salt.minion.load_args_and_kwargs(target, salt.utils.args.parse_input(arguments))
    # What Salt itself puts there for functions that take anything.
    by_name = {key: value for key, value in by_name.items() if not key.startswith("__pub_")}
    try:
        return inspect.signature(target).bind(*positional, **by_name).arguments
    except TypeError as error:
        raise Wrong(f"{dotted}: {error}") from None
