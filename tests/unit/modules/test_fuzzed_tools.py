"""What comes from the vendor's tools, damaged in every way: refused in few words or read right, never half."""

import json
import re
import time
from pathlib import Path
from unittest.mock import create_autospec

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.support.loader import ROOT, load

cctrl = load("_modules", "cctrl")
driftsigns = load("_modules", "driftsigns")
mysqld = load("_modules", "mysqld")
runwords = load("_modules", "runwords")
tabledata = load("_modules", "tabledata")
topology = load("_modules", "topology")
trepctl = load("_modules", "trepctl")
vendorlog = load("_modules", "vendorlog")

FIXTURES = Path(ROOT, "tests/fixtures")
# The same cases in every run. It is about what is read, not about time: that has tests of its own.
FUZZED = settings(derandomize=True, deadline=None, max_examples=100, database=None)
FEW = settings(FUZZED, max_examples=40)
# A session of cctrl prints 10 kB. Whoever reads 10 MB again and again needs hours, not seconds.
BIG, SECONDS = 10_000_000, 15
MOST_WORDS = 6000


def read(parse, text):
    """What is read, or None if it is refused: in few words, of which one is the tool's name, fit for a terminal."""
    try:
        return parse(text)
    except CommandExecutionError as error:
        words = str(error)
        assert parse.__module__.rpartition("_")[2] in words and len(words) < MOST_WORDS
        assert all(sign == "\n" or sign.isprintable() for sign in words)
        return None


def within(seconds, parse, text):
    began = time.monotonic()
    found = read(parse, text)
    assert time.monotonic() - began < seconds
    return found


# --- damage


DIRT = ["\0", "\t", "\r", "\r\n", "\n", "\x1b[32m", "\x1b[0m", "\x85", "\u2028", "\N{REPLACEMENT CHARACTER}", "é",
        "1" * 5000, "|", "(", ")", "[", "]", "=", ",", ":", "+", " ", '"', "{", "}", "ONLINE", "SHUNNED",
        "COORDINATOR["]  # fmt: skip


@st.composite
def cut(draw, text):
    """A piece of it, from anywhere to anywhere; more often from its beginning on."""
    begins = draw(st.just(0) | st.integers(0, len(text)))
    return text[begins : draw(st.integers(begins, len(text)))]


@st.composite
def merged(draw, one, other):
    """The lines of both, each in their order, as of two sessions that write into one file."""
    lines, others = one.splitlines(keepends=True), other.splitlines(keepends=True)
    whose = draw(st.lists(st.booleans(), min_size=len(lines) + len(others), max_size=len(lines) + len(others)))
    if draw(st.booleans()):
        whose = [number % 2 == 0 for number in range(len(whose))]
    both = []
    for first in whose:
        both.append((lines if first and lines or not others else others).pop(0))
    return "".join(both)


@st.composite
def dirty(draw, text):
    """With signs in it that do not belong there, in another encoding, with other ends of lines."""
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(text)))
        text = text[:place] + draw(st.sampled_from(DIRT) | st.text(max_size=5)) + text[place:]
    if draw(st.booleans()):
        text = text.replace("\n", "\r\n")
    if draw(st.booleans()):
        text = text.encode("latin-1", "replace").decode("utf-8", "replace")
    return text


def damaged(text, other):
    return st.one_of(cut(text), dirty(text), merged(text, other), cut(text + other), merged(text, other).flatmap(dirty))


# --- cctrl


LISTINGS = [
    text
    for path in sorted(FIXTURES.glob("cctrl/**/*.txt"))
    if "|STATUS [" in (text := path.read_text()) and "composite" not in path.name
]
FACTS = ("role", "state", "manager", "replicator", "dataserver")
EDGE = f"+{'-' * 76}+\n"


def boxes(*parts):
    return EDGE + "".join("".join(f"|{line:<76}|\n" for line in lines) + EDGE for lines in parts) + "\n"


@st.composite
def sites(draw, hosts=("east1", "east2", "east3")):
    """What ls prints of a site, in the form of the manual, with whatever states."""
    state = st.sampled_from(
        ["ONLINE", "OFFLINE", "SHUNNED(MANUALLY-SHUNNED)", "SHUNNED(FAILED-OVER-TO-east2)", "FAILED"]
    )
    short = st.sampled_from(["ONLINE", "OFFLINE", "STOPPED", "SUSPECT", "STATUS NOT AVAILABLE"])
    policy = draw(st.sampled_from(["AUTOMATIC", "MAINTENANCE", "MANUAL"]))
    text = (
        f"COORDINATOR[east1:{policy}:ONLINE]\n\nROUTERS:\n"
        + boxes(
            [
                f"connector@{host}[{draw(st.integers(1, 999))}]({draw(short.filter(str.isalpha))}, created=0, active=0)"
                for host in hosts
            ]
        )
        + "DATASOURCES:\n"
    )
    for host in hosts:
        role = draw(st.sampled_from(["master", "slave"]))
        master = ", master=east1" if role == "slave" else ""
        text += boxes(
            [
                f"{host}({role}:{draw(state)}, progress={draw(st.integers(0, 999))}, "
                f"latency={draw(st.integers(0, 999))}.5)",
                "STATUS [OK] [2025/01/24 02:59:42 PM UTC]",
            ],
            [
                f"  MANAGER(state={draw(short)})",
                f"  REPLICATOR(role={role}{master}, state={draw(short)})",
                f"  DATASERVER(state={draw(short)})",
                "  CONNECTIONS(created=3, active=1)",
            ],
        )
    return text


def facts(source):
    return {fact: source[fact] for fact in FACTS if source[fact] is not None}


def told(found):
    """Every name and word that a listing is said to show."""
    yield from (found["coordinator"] or {}).values()
    for name, router in found["routers"].items():
        yield from (name, router["host"], router["state"])
    for name, source in found["datasources"].items():
        yield from (name, source["role"], source["alert"], *(source["replicator"] or {}).values())
        for words in (
            source["state"],
            source["manager"],
            source["dataserver"],
            source["reason"],
            source["alert_reason"],
        ):
            # Where it was too long for its box, a blank is the end of a line.
            yield from (words or "").split()


@FUZZED
@given(st.sampled_from(LISTINGS).flatmap(lambda text: st.tuples(st.just(text), cut(text))))
def test_of_a_recorded_listing_that_was_cut_nothing_is_read_but_what_the_whole_shows(texts):
    whole, found = cctrl.parse_ls(texts[0]), read(cctrl.parse_ls, texts[1])
    if not found:
        return
    assert found["coordinator"] in (None, whole["coordinator"])
    assert found["routers"].items() <= whole["routers"].items()
    for host, source in found["datasources"].items():
        all_of_it = whole["datasources"][host]
        for fact, value in source.items():
            if fact == "reason":
                assert (all_of_it[fact] or "").startswith(value or "")
            elif fact == "replicator" and value:
                assert all(word in (None, all_of_it[fact][key]) for key, word in value.items())
            else:
                assert value in (None, False, all_of_it[fact])


@FUZZED
@given(sites().flatmap(lambda text: st.tuples(st.just(text), cut(text))))
def test_of_a_site_that_was_cut_no_more_is_read_than_it_has(texts):
    whole, found = cctrl.parse_ls(texts[0]), read(cctrl.parse_ls, texts[1])
    assert len(whole["datasources"]) == len(whole["routers"]) == 3
    for kind in ("routers", "datasources") if found else ():
        for name, shown in found[kind].items():
            assert shown["state"] in (None, whole[kind][name]["state"])
            if shown.get("replicator"):
                assert shown["replicator"]["master"] in (None, whole[kind][name]["replicator"]["master"])
            assert shown.get("latency") in (None, whole[kind][name].get("latency"))


@FEW
@given(sites(), sites())
def test_of_two_listings_the_last_one_counts(one, last):
    found, alone = cctrl.parse_ls(one + last), cctrl.parse_ls(last)
    assert found == alone
    seen = cctrl.parse_change(one + last)
    assert (seen["before"], seen["after"]) == (cctrl.parse_ls(one), alone)


@FUZZED
@given(st.tuples(sites(), sites()).flatmap(lambda pair: st.tuples(st.just(pair), merged(*pair))))
def test_of_two_listings_in_each_other_every_datasource_is_as_one_of_them_shows_it(texts):
    pair, both = texts
    shown, found = [cctrl.parse_ls(text) for text in pair], read(cctrl.parse_ls, both)
    if found:
        assert found["coordinator"] in [each["coordinator"] for each in shown]
        for host, source in found["datasources"].items():
            assert any(facts(source).items() <= facts(each["datasources"][host]).items() for each in shown)
        for name, router in found["routers"].items():
            assert router in [each["routers"][name] for each in shown]


@FUZZED
@given(st.tuples(sites(), st.sampled_from(LISTINGS) | sites()).flatmap(lambda pair: damaged(*pair)) | st.text())
def test_no_damage_makes_a_listing_show_a_word_that_is_not_in_it(text):
    found = read(cctrl.parse_ls, text)
    if found:
        assert all(word in text for word in told(found) if word)
    seen = read(cctrl.parse_change, text)
    if seen:
        assert all(word in text for word in [*told(seen["before"]), *told(seen["after"]), *seen["said"]] if word)


@FEW
@given(
    sites(), st.sampled_from(["\r\n", "   \n", "\t\n", "\n"]), st.sampled_from(["", "\ufeff", "\0", "\x1b[2J", "é\r\n"])
)
def test_other_ends_of_lines_and_a_dirty_banner_change_nothing(text, end, banner):
    assert cctrl.parse_ls(f"{banner}\n" + text.replace("\n", end)) == cctrl.parse_ls(text)


BEGUN = ["", "|", "|east1", "|east1(", "|east1(slave:ONLINE", "|east1(slave:ONLINE(", "|east1(slave:ONLINE)|\n|",
         "|east1(slave:ONLINE)|\n|STATUS [", "|connector@east1[", "[LOGICAL", "COORDINATOR[", "east:COORDINATOR[",
         "Tungsten Clustering (for MySQL) "]  # fmt: skip
ENDLESS = [*"(|[=+ \n\r\t)],:a1@.", "VIP=(", "REASON[", "REPLICATOR(", "STATUS [", "progress=", "latency=1.",
           "COORDINATOR[a:",
           "[LOGICAL] / > ", "MANAGER(state=", "connector@a[", "a(slave:", "(composite "]  # fmt: skip


@pytest.mark.parametrize("begun", BEGUN)
def test_no_line_is_read_for_ever(begun):
    for endless in ENDLESS:
        within(3, cctrl.parse_ls, begun + endless * (200_000 // len(endless)))


@pytest.mark.parametrize("line", ["|noise of a manager|\n", "WARN  [main] - something\n", "x" * (BIG // 2)])
def test_megabytes_around_a_listing(line):
    noise, text = line * (BIG // 2 // len(line)), boxes(["east1(slave:ONLINE)"])
    found = within(SECONDS, cctrl.parse_ls, f"{noise}\nCOORDINATOR[east1:MANUAL:ONLINE]\n{text}{noise}")
    assert found["coordinator"]["policy"] == "MANUAL" and found["datasources"]["east1"]["state"] == "ONLINE"
    assert within(SECONDS, cctrl.parse_ls, noise) is None


# --- trepctl


ANSWERS = {
    made["name"]: made["stdout"]
    for made in map(json.loads, (FIXTURES / "trepctl/recordings.jsonl").read_text().splitlines())
    if made["rc"] == 0
}
SERVICES = [text for name, text in ANSWERS.items() if "services" in name]
STATUSES = [text for name, text in ANSWERS.items() if "status" in name]
KINDS = {trepctl.parse_services: SERVICES, trepctl.parse_status: STATUSES}


def by_name(parse, found):
    return found if parse is trepctl.parse_services else {None: found}


@pytest.mark.parametrize("parse", KINDS, ids=lambda parse: parse.__name__)
@FUZZED
@given(data=st.data())
def test_of_a_recorded_answer_that_was_cut_nothing_is_read_but_what_the_whole_tells(parse, data):
    text = data.draw(st.sampled_from(KINDS[parse]))
    whole, found = by_name(parse, parse(text)), read(parse, data.draw(cut(text)))
    for name, now in by_name(parse, found).items() if found else ():
        for key, value in now.items():
            # Of a message of several lines the last ones may be missing.
            assert value == whole[name][key] or str(whole[name][key]).startswith(f"{value}\n")


@pytest.mark.parametrize("parse", KINDS, ids=lambda parse: parse.__name__)
@FUZZED
@given(data=st.data())
def test_of_two_answers_in_each_other_it_is_one_of_them_or_none(parse, data):
    texts = [data.draw(st.sampled_from(KINDS[parse])) for _ in range(2)]
    if data.draw(st.booleans()):
        texts[1] = texts[0].replace("ONLINE", "OFFLINE:NORMAL")
    found = read(parse, data.draw(merged(*texts)))
    for name, now in by_name(parse, found).items() if found else ():
        assert any(now.items() <= by_name(parse, parse(text)).get(name, {}).items() for text in texts)


@pytest.mark.parametrize("parse", KINDS, ids=lambda parse: parse.__name__)
@FUZZED
@given(data=st.data())
def test_no_damage_makes_an_answer_tell_a_state_that_is_not_in_it(parse, data):
    texts = data.draw(st.tuples(*[st.sampled_from(KINDS[parse])] * 2))
    text = data.draw(damaged(*texts))
    found = read(parse, text)
    for now in by_name(parse, found).values() if found else ():
        # A message of several lines is set in, in a table.
        for key in ("state", "role", "serviceName"):
            assert all(line.strip() in text for line in (now.get(key) or "").splitlines())
        assert isinstance(now.get("state", ""), str)
        for key, kind in (("appliedLastSeqno", int), ("appliedLatency", float), ("started", bool)):
            assert now.get(key) is None or type(now[key]) is kind
        assert now.get("appliedLatency") is None or abs(now["appliedLatency"]) < float("inf")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
KEYS = ["serviceName", "state", "started", "appliedLastSeqno", "appliedLatency", "maximumStoredSeqNo", "pendingError",
        "pendingExceptionMessage", "timeInStateSeconds"]  # fmt: skip


@FUZZED
@given(st.lists(st.dictionaries(st.sampled_from(KEYS), json_values), max_size=3))
def test_json_with_values_of_any_kind_is_read_judged_or_refused(answer):
    for text in (json.dumps(answer), *map(json.dumps, answer)):
        for parse in KINDS:
            found = read(parse, text)
            if found is not None:
                services = by_name(parse, found)
                assert all(isinstance(name, str) for name in services) or parse is trepctl.parse_status
                driftsigns.judge({str(name): now for name, now in services.items()}, [*map(str, services), "west"])


@pytest.mark.parametrize(
    "begun",
    [
        "",
        "Processing services command...\n",
        "Processing status command...\nNAME  VALUE\n",
        "Processing status command...\npendingError: x\n",
        "[",
        '{"serviceName": "',
    ],
)
def test_no_answer_is_read_for_ever(begun):
    for endless in (*'[{(|=: \n\r\t"\\a1', '{"a":', '[{"a":"b"},', "state: ", "a: b\n", "   more\n", "NAME  VALUE\n"):
        for parse in KINDS:
            within(5, parse, begun + endless * (200_000 // len(endless)))


def test_megabytes_around_an_answer():
    text, noise = ANSWERS["203-two-services-json"], "." * BIG
    assert within(SECONDS, trepctl.parse_services, noise + text + noise) == trepctl.parse_services(text)
    assert within(SECONDS, trepctl.parse_services, noise) is None
    one = ANSWERS["248-error2-status-json"]
    long = one.replace('"pendingError":"', '"pendingError":"' + "x" * BIG)
    assert long != one and len(within(SECONDS, trepctl.parse_status, long)["pendingError"]) > BIG


# --- trepctl and mysqld, called


NODE = {"cluster_home": "/opt/continuent", "cross_site_home": "/opt/replicator", "user": "tungsten", "service": "west",
        "other_services": ["east"], "mysql": {"defaults_file": __file__}}  # fmt: skip


@pytest.fixture
def tool(monkeypatch):
    """The answer of whatever tool is run."""
    answer = {"retcode": 0, "stdout": "", "stderr": ""}
    monkeypatch.setattr(trepctl.os.path, "isfile", lambda path: True)
    monkeypatch.setattr(mysqld, "_tool", lambda *names: "/usr/bin/mariadb")
    return answer


@pytest.fixture
def configure_loader_modules(tool):
    node = create_autospec(topology.node, return_value=NODE)
    run = create_autospec(vendorlog.run, side_effect=lambda *args, **kwargs: tool)
    return {
        trepctl: {"__salt__": {"vendorlog.run": run, "topology.node": node}},
        mysqld: {"__salt__": {"cmd.run_all": lambda argv, **kwargs: tool, "topology.node": node}},
    }


@pytest.fixture(autouse=True)
def ask(tool):
    """Ask with an answer; what is returned, or the words of the refusal."""

    def ask(function, *args, **answer):
        tool.update({"retcode": 0, "stdout": "", "stderr": "", **answer})
        try:
            return function(*args), None
        except CommandExecutionError as error:
            assert len(str(error)) < 15 * 600
            return None, str(error)

    ASK[0] = ask


# hypothesis wants no fixture that is made anew for each test and used for all of its cases.
ASK = [None]


@FUZZED
@given(st.data())
def test_status_tells_of_the_service_that_was_asked_for_or_is_refused(data):
    text = data.draw(st.sampled_from(STATUSES + SERVICES).flatmap(lambda text: st.just(text) | damaged(text, text)))
    code = data.draw(st.sampled_from([0, 0, 0, 1, 124, 137]))
    now, words = ASK[0](trepctl.status, "east", "cluster", stdout=text, retcode=code, stderr=data.draw(st.text()))
    if now:
        assert code == 0 and now["serviceName"] == "east" and now["state"] in text
    else:
        assert "trepctl" in words
    found, words = ASK[0](trepctl.services, "cross_site", stdout=text, retcode=code)
    assert "trepctl" in words if found is None else code == 0


def test_an_error_of_megabytes_is_told_in_few_words():
    for code in (1, 124):
        for function, args in (
            (trepctl.status, ("east", "cluster")),
            (trepctl.services, ("cluster",)),
            (mysqld.query, ("SELECT 1",)),
        ):
            _, words = ASK[0](function, *args, stdout="ERROR words " * 900_000, stderr="y" * BIG, retcode=code)
            assert words


ESCAPED = {"\n": "\\n", "\t": "\\t", "\0": "\\0", "\\": "\\\\"}
cells = (
    st.none()
    | st.text(st.characters(exclude_categories=("Cs",)), max_size=9)
    | st.sampled_from(["", "\\", "\\n", "\n"])
)
tables = st.integers(1, 3).flatmap(lambda width: st.lists(st.lists(cells, min_size=width, max_size=width), max_size=4))


def printed(rows):
    """As the client's --batch prints rows."""
    if not rows:
        return ""
    lines = [[f"c{number}" for number in range(len(rows[0]))], *rows]
    return "".join(
        "\t".join("NULL" if cell is None else "".join(ESCAPED.get(sign, sign) for sign in cell) for cell in line) + "\n"
        for line in lines
    )


def rows_of(table):
    return [{f"c{number}": None if cell == "NULL" else cell for number, cell in enumerate(row)} for row in table]


@FUZZED
@given(tables)
def test_every_row_of_the_client_is_read_as_it_is(table):
    assert ASK[0](mysqld.query, "SELECT 1", stdout=printed(table)) == (rows_of(table), None)


@FUZZED
@given(tables.filter(bool), st.data())
def test_of_the_clients_answer_that_was_cut_no_cell_is_read_that_is_not_whole(table, data):
    text = printed(table)
    rows, words = ASK[0](mysqld.query, "SELECT 1", stdout=text[: data.draw(st.integers(0, len(text)))])
    assert "cut short" in words if rows is None else rows == rows_of(table)[: len(rows)]


@FUZZED
@given(st.text(max_size=200))
def test_any_answer_of_the_client_is_rows_or_an_error(text):
    rows, words = ASK[0](mysqld.query, "SELECT 1", stdout=text)
    assert words or len({len(row) for row in rows}) <= 1


def test_megabytes_of_the_clients_rows():
    table = [["7", "x\\" * 50]] * 30_000
    began = time.monotonic()
    assert len(ASK[0](mysqld.query, "SELECT 1", stdout=printed(table))[0]) == 30_000
    ASK[0](mysqld.query, "SELECT 1", stdout="\\" * BIG + "\n")
    assert time.monotonic() - began < SECONDS


# --- what is read from that


@FUZZED
@given(st.data())
def test_a_damaged_answer_never_makes_a_service_well(data):
    text = data.draw(st.sampled_from(SERVICES))
    found = read(trepctl.parse_services, data.draw(damaged(text, text)))
    signs = driftsigns.judge(found or {}, ["east", "west"])
    whole = trepctl.parse_services(text)
    for name, sign in signs.items():
        if sign["sign"] == "well":
            assert found[name]["state"].startswith("ONLINE") and "ONLINE" in str(whole)


secrets = st.text(alphabet="Ü'\"\\ \n%", min_size=1, max_size=12).map(lambda text: f"Ü{text}Ü")


@FUZZED
@given(secrets, st.sampled_from("'\""), st.sampled_from(["Failing statement: ", "Query: '", "\n"]), st.data())
def test_no_value_of_a_failing_statement_is_told_wherever_it_was_cut(secret, quote, begins, data):
    escaped = re.sub(r"(['\"\\])", r"\\\1", secret)
    statement = f"INSERT INTO t VALUES ({quote}{escaped}{quote}, 7)"
    whole = f"Event application failed {begins}{statement}"
    message = whole[: data.draw(st.integers(0, len(whole)))]
    now = {"state": "OFFLINE:ERROR", "pendingError": message, "pendingExceptionMessage": whole}
    what = driftsigns.judge({"west": now}, ["west"])["west"]["what"]
    assert "Ü" not in what and "7" not in what and "\n" not in what


@pytest.mark.parametrize(
    "begun", ["", "Failing statement: ", "Failing statement: '", "Duplicate entry '", "Query: '", "table "]
)
def test_no_message_is_judged_for_ever(begun):
    began = time.monotonic()
    for endless in (*"'\"\\(0 \nx", "\\'", '\\"', "''", "table ", "entry '", "error 1", "0x", "1.", "'\n", "can't "):
        text = begun + endless * (BIG // 10 // len(endless))
        for message in (text, text + "\\"):
            now = {"state": "OFFLINE:ERROR", "pendingError": message, "pendingExceptionMessage": None}
            sign = driftsigns.judge({"west": now}, ["west"])["west"]
            assert sign["sign"] == "error" and len(sign["what"]) < 600
    assert time.monotonic() - began < SECONDS


progress = st.tuples(
    st.integers(0, 10**15), st.integers(0, 100), st.integers(0, 999), st.sampled_from(["", "k", "M", "G", "T"])
)


def logged(line):
    return f"  {line[0]:,}  {line[1]}%  {line[2]}.50{line[3]}B/s    0:00:10 (xfr#1, to-chk=0/2)\n"


@FUZZED
@given(st.lists(st.lists(progress, min_size=1, max_size=3), max_size=4))
def test_progress_is_the_sum_of_what_each_rsync_said_last(streams):
    found = runwords.copy_progress(["".join(map(logged, lines)) for lines in streams])
    assert found.get("bytes", 0) == sum(lines[-1][0] for lines in streams)
    assert 0 <= found.get("percent", 0) <= 100
    assert bool(found) is bool(streams)


@FUZZED
@given(
    st.lists(
        st.lists(progress, max_size=3)
        .map(lambda lines: "".join(map(logged, lines)))
        .flatmap(lambda text: damaged(text, "sending incremental file list\n"))
        | st.text()
        | st.none(),
        max_size=4,
    )
)
def test_a_damaged_log_of_rsync_is_never_a_traceback_nor_more_than_all(logs):
    found = runwords.copy_progress(logs)
    assert not found or (found["bytes"] >= 0 and 0 <= found["percent"] <= 100 and len(found["rate"]) < 40)


def test_no_log_is_read_for_ever():
    began = time.monotonic()
    for begun in ("", "1,000 ", "1,000  45% ", "1,000  45%  1."):
        for endless in ("\n", " ", "\r", "1", ",", "%", ".", "1 ", "1% ", "\t\n"):
            runwords.copy_progress([begun + endless * 500_000])
    assert time.monotonic() - began < SECONDS


KEY = {"schema": "shop", "table": "orders", "key": [["a", "number"], ["b", "text"], ["c", "time"], ["d", "other"]]}
values = st.sampled_from(["7", "-1.50", "6FAA", "", "2026-01-01 00:00:00", "0x1", "'", "`", "--", "NULL"]) | st.text(
    max_size=4
)


@FUZZED
@given(st.lists(values, max_size=6))
def test_a_key_is_literals_of_harmless_signs_or_refused(parts):
    try:
        pairs = tabledata._literals(KEY, ",".join(parts))
    except SaltInvocationError:
        return
    assert len(pairs) == 4
    for (_, literal), pattern in zip(pairs, (r"-?[0-9.]+", r"_utf8mb4 X'[0-9A-F]*'", r"'[0-9 :.-]+'", r"'[0-9A-F]*'")):
        assert re.fullmatch(pattern, literal)
