"""cctrl: every known sample is read, nothing is invented, and no command counts before an ls shows it."""

import time
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import create_autospec

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.support.loader import ROOT, load

cctrl = load("_modules", "cctrl")
topology = load("_modules", "topology")
vendorlog = load("_modules", "vendorlog")
SAMPLES = Path(ROOT, "tests/fixtures/cctrl")
# Replies, refusals and readers' prompts: text without a listing.
NO_LISTING = {
    "expert-mode-warning.txt", "recover-master-6.0.txt", "recover-refused-unextracted-8.0.txt",
    "reset_manager-policy-refused-7.0.txt", "run-piped-reader-jline.txt", "run-piped-reader-plain.txt",
    "shun-recover-maintenance.txt",
}
LISTINGS = sorted(path for path in SAMPLES.rglob("*.txt") if path.name not in NO_LISTING)
GENERATED = SAMPLES / "generated"


def read(name):
    return (SAMPLES / name).read_text()


def only(name):
    """The one datasource of a sample."""
    sources = cctrl.parse_ls(read(name))["datasources"]
    assert len(sources) == 1
    return next(iter(sources.values()))


def listing(policy="AUTOMATIC", router="ONLINE", replicator="ONLINE", dataserver="ONLINE", **sources):
    """What ls prints, in short."""
    boxes = "".join(
        f"|{host}({head}, progress=3, latency=0.5)   |\n|STATUS [OK] [2025/01/24 02:59:42 PM UTC]  |\n"
        f"|  MANAGER(state=ONLINE)   |\n|  REPLICATOR(role={head.split(':')[0]}, state={replicator})   |\n"
        f"|  DATASERVER(state={dataserver})   |\n|  CONNECTIONS(created=0, active=0)  |\n"
        for host, head in sources.items())
    return (f"[LOGICAL:EXPERT] /east > \nCOORDINATOR[east1:{policy}:ONLINE]\n\nROUTERS:\n"
            f"|connector@east1[8805]({router}, created=0, active=0)  |\n\nDATASOURCES:\n{boxes}\n")


class TestParse:
    @pytest.mark.parametrize("path", LISTINGS, ids=lambda path: path.name)
    def test_no_state_that_is_not_in_the_text(self, path):
        text = path.read_text()
        found = cctrl.parse_ls(text)
        for host, source in found["datasources"].items():
            assert host in text
            for word in (source["state"], source["role"], source["alert"], source["manager"], source["dataserver"],
                         (source["replicator"] or {}).get("state")):
                assert word is None or word in text.replace("\n", " ")
        assert found["composite"] is ("composite" in path.name)

    @pytest.mark.parametrize("name", sorted(NO_LISTING))
    def test_a_text_without_a_listing_is_not_an_empty_cluster(self, name):
        with pytest.raises(CommandExecutionError, match="cannot be read"):
            cctrl.parse_ls(read(name))

    @pytest.mark.parametrize(
        "text", ["", "\n", "\x00\xff garbage {[", "Exiting...\n", "[LOGICAL] /east > \nExiting..."])
    def test_garbage_raises(self, text):
        with pytest.raises(CommandExecutionError):
            cctrl.parse_ls(text)

    def test_the_manuals_listing(self):
        found = cctrl.parse_ls(read("ls-online-7.0.txt"))
        assert (found["service"], found["version"]) == ("alpha", "7.0.3")
        assert found["coordinator"] == {"host": "host1", "policy": "AUTOMATIC", "state": "ONLINE"}
        assert found["routers"]["connector@host2"] == {
            "host": "host2", "pid": 12039, "state": "ONLINE", "created": 0, "active": 0}
        assert found["datasources"]["host1"] == {
            "role": "master", "state": "ONLINE", "reason": None, "composite": False, "archive": False, "progress": 3,
            "latency": 0.561, "alert": "OK", "alert_reason": None, "ssl": False, "vip": None, "manager": "ONLINE",
            "replicator": {"role": "master", "master": None, "state": "ONLINE"}, "dataserver": "ONLINE",
            "connections": {"created": 0, "active": 0}}

    def test_a_word_that_the_page_cut_off_is_no_state(self):
        cut = cctrl.parse_ls(read("ls-online-7.0.txt"))["datasources"]["host2"]
        assert cut["state"] == "ONLINE" and cut["replicator"]["state"] is None and cut["dataserver"] is None

    @pytest.mark.parametrize("width", ["w75", "w80"])
    @pytest.mark.parametrize("name, expected", [
        ("slave-online", {"role": "slave", "state": "ONLINE", "progress": 104, "latency": 1.243}),
        ("master-shunned-failed-over-to-east2", {"state": "SHUNNED", "reason": "FAILED-OVER-TO-east2"}),
        ("slave-failed", {"state": "FAILED", "reason": "DATASERVER 'east3@east' STOPPED", "alert": "CRITICAL",
                          "alert_reason": "DATASERVER 'east3@east' STOPPED"}),
        ("slave-online-with-ssl-replication", {"ssl": True}),
        ("archive-precedence-1", {"archive": True, "state": "ONLINE"}),
        ("vip", {"vip": "eth0:0:10.5.6.7"}),
        ("witness", {"role": "witness", "replicator": None, "alert": None}),
        ("ls-l-details-slave", {"role": "slave", "state": "ONLINE", "progress": 104}),
        ("slave-online-replicator-offline-error-suspect", {
            "replicator": {"role": "slave", "master": "east1", "state": "SUSPECT"}}),
    ])
    def test_both_widths(self, width, name, expected):
        source = only(f"generated/{width}-{name}.txt")
        assert {key: source[key] for key in expected} == expected

    def test_the_closing_bracket_may_be_lost(self):
        source = only("generated/w75-aws-name-manually-shunned-closing-bracket-lost.txt")
        assert (source["state"], source["reason"], source["progress"]) == ("SHUNNED", "MANUALLY-SHUNNED", 5871)
        assert source["replicator"] == {
            "role": "slave", "master": "ip-10-20-30-42.us-east-1.compute.internal", "state": "ONLINE"}

    def test_a_name_so_long_that_the_state_is_lost(self):
        source = only("generated/w75-fqdn-host-wrapped-header.txt")
        assert (source["role"], source["state"]) == (None, None)
        assert source["progress"] == 123456789

    def test_a_reason_folded_over_two_lines(self):
        source = only("generated/w75-shunned-with-a-last-error-as-well-reason-after-error.txt")
        assert source["reason"] == "FAILED-OVER-TO-east2 AFTER DATASERVER 'east1@east' STOPPED"

    @pytest.mark.parametrize("prompt", ["[LOGICAL:EXPERT] /east > ls\n", "[LOGICAL:EXPERT] /east > "])
    def test_echoed_and_plain_prompts(self, prompt):
        found = cctrl.parse_ls(
            f"{prompt}COORDINATOR[east1:MAINTENANCE:ONLINE]\n[LOGICAL:EXPERT] /east > \nExiting...\n")
        assert found["service"] == "east" and found["coordinator"]["policy"] == "MAINTENANCE"

    def test_the_last_listing_counts(self):
        text = listing(policy="AUTOMATIC", east1="master:ONLINE") + listing(policy="MAINTENANCE", east2="slave:ONLINE")
        found = cctrl.parse_ls(text)
        assert found["coordinator"]["policy"] == "MAINTENANCE" and set(found["datasources"]) == {"east2"}

    def test_a_silent_command_leaves_its_prompt_before_the_listing(self):
        found = cctrl.parse_ls("[LOGICAL:EXPERT] /east > [LOGICAL:EXPERT] /east > COORDINATOR[east1:MANUAL:ONLINE]\n")
        assert (found["service"], found["coordinator"]["policy"]) == ("east", "MANUAL")

    @pytest.mark.parametrize("text", [
        "COORDINATOR[db2:AUTOMATIC:ONLINE]\nalpha:COORDINATOR[db2:AUTOMATIC:ONLINE]\n",
        "COORDINATOR[db2:AUTOMATIC:ONLINE]\n|east(composite master:ONLINE)   |\n",
        "|DATA SERVICES:      |\neast\nglobal\nCOORDINATOR[db2:AUTOMATIC:ONLINE]\n",
    ])
    def test_every_sign_of_a_composite(self, text):
        assert cctrl.parse_ls(text)["composite"] is True

    @settings(max_examples=200, deadline=None)
    @given(st.data())
    def test_a_listing_cut_anywhere_is_refused_or_read_truly(self, data):
        text = listing(policy="MAINTENANCE", east1="master:SHUNNED(MANUALLY-SHUNNED)", east2="slave:ONLINE")
        cut = text[: data.draw(st.integers(0, len(text)))]
        whole = cctrl.parse_ls(text)["datasources"]
        try:
            found = cctrl.parse_ls(cut)
        except CommandExecutionError:
            return
        for host, source in found["datasources"].items():
            for key, value in source.items():
                if key in ("role", "state", "manager", "dataserver"):
                    assert value in (None, whole[host][key])

    @pytest.mark.parametrize("end, expected", [
        ("progress=104", {"progress": None}),
        ("progress=104,", {"progress": 104}),
        ("latency=1.2", {"progress": 104, "latency": None}),
        ("REPLICATOR(role=sla", {"replicator": {"role": None, "master": None, "state": None}}),
        ("master=eas", {"replicator": {"role": "slave", "master": None, "state": None}}),
        ("east1, state=ONLIN", {"replicator": {"role": "slave", "master": "east1", "state": None}}),
    ])
    def test_what_a_cut_has_left_of_a_number_or_a_name_is_none(self, end, expected):
        text = read("generated/w80-slave-online.txt")
        source = cctrl.parse_ls(text[: text.index(end) + len(end)])["datasources"]["east2"]
        assert {key: source[key] for key in expected} == expected

    @pytest.mark.parametrize("other", [
        listing(policy="MAINTENANCE", router="OFFLINE", east1="master:ONLINE"),
        listing(east1="master:SHUNNED(MANUALLY-SHUNNED)"),
        listing(replicator="OFFLINE", east1="master:ONLINE"),
    ])
    def test_two_listings_line_by_line_are_refused(self, other):
        mixed = zip(listing(east1="master:ONLINE").splitlines(), other.splitlines())
        with pytest.raises(CommandExecutionError, match="contradicts itself about (connector@)?east1"):
            cctrl.parse_ls("\n".join(line for pair in mixed for line in pair))

    def test_what_a_listing_shows_twice_alike_is_read(self):
        boxes = listing(east1="master:ONLINE", east2="slave:ONLINE").partition("ROUTERS:\n")[2]
        assert cctrl.parse_ls(boxes + boxes) == cctrl.parse_ls(boxes)

    def test_boxes_without_a_head_are_not_those_of_the_datasource_before(self):
        witness, slave = read("generated/w80-witness.txt"), read("generated/w80-slave-online.txt")
        found = cctrl.parse_ls(f"{witness}\n{slave.replace('ONLINE', chr(27) + '[32mONLINE', 1)}")["datasources"]
        assert found == cctrl.parse_ls(witness)["datasources"]

    def test_a_number_of_thousands_of_digits_is_not_read(self):
        text = listing(east1="slave:ONLINE").replace("8805", "9" * 5000).replace("progress=3", "progress=" + "9" * 5000)
        text = text.replace("active=0", "active=" + "9" * 5000)
        found = cctrl.parse_ls(text)
        source = found["datasources"]["east1"]
        assert found["routers"] == {} and (source["progress"], source["connections"]) == (None, None)
        assert source["latency"] == 0.5

    @pytest.mark.parametrize("line", [
        "|east1(slave:ONLINE) " + "VIP=(" * 40_000, "|east1(slave:ONLINE)\n|STATUS [OK]\n|" + "REASON[" * 30_000])
    def test_a_bracket_that_is_opened_without_end_is_not_looked_for_for_ever(self, line):
        began = time.monotonic()
        source = cctrl.parse_ls(line)["datasources"]["east1"]
        assert (source["vip"], source["alert_reason"]) == (None, None) and time.monotonic() - began < 3

    @settings(max_examples=200, deadline=None)
    @given(st.text(alphabet="|()[]:,= \nONLIEmaster1-COORDINATOR", max_size=200))
    def test_no_text_crashes_it(self, text):
        try:
            cctrl.parse_ls(text)
        except CommandExecutionError:
            pass


BANNER = "Tungsten Clustering (for MySQL) 7.0.3 build 141\nconnect to 'east@east1'\neast: session established\n"
PROMPT = "[LOGICAL:EXPERT] /east > "


def printed(echo, *answers):
    """A session on a pipe: banner, prompts, each command echoed or not, its answer, and the end of input."""
    typed = "".join(f"{PROMPT}{command}\n{said}" if echo else f"{PROMPT}{said}" for command, said in answers)
    return f"{BANNER}{typed}{PROMPT}\nExiting...\n"


@pytest.mark.parametrize("echo", [True, False])
class TestParseChange:
    def boxes(self, name):
        """A listing of the generated boxes, some of them folded: what ls shows, but for routers."""
        return f"\nCOORDINATOR[east1:AUTOMATIC:ONLINE]\n\nDATASOURCES:\n{read('generated/' + name)}\n"

    def test_the_first_the_last_and_what_was_said_between(self, echo):
        seen = cctrl.parse_change(printed(
            echo, ("ls", listing(policy="AUTOMATIC", east1="master:ONLINE", east2="slave:ONLINE")),
            ("set policy maintenance", "policy mode is now MAINTENANCE\n"),
            ("ls", listing(policy="MAINTENANCE", east1="master:OFFLINE", east3="slave:ONLINE"))))
        assert seen["said"] == ["policy mode is now MAINTENANCE"]
        assert [seen[when]["coordinator"]["policy"] for when in ("before", "after")] == ["AUTOMATIC", "MAINTENANCE"]
        assert {host: about["state"] for host, about in seen["before"]["datasources"].items()} == {
            "east1": "ONLINE", "east2": "ONLINE"}
        assert {host: about["state"] for host, about in seen["after"]["datasources"].items()} == {
            "east1": "OFFLINE", "east3": "ONLINE"}
        assert (seen["before"]["service"], seen["before"]["version"]) == ("east", "7.0.3")

    @pytest.mark.parametrize("path", sorted(GENERATED.glob("*.txt")), ids=lambda path: path.name)
    def test_each_is_read_as_if_it_stood_alone(self, echo, path):
        boxes = self.boxes(path.name)
        plain = self.boxes("w75-slave-online.txt")
        for first, last in ((boxes, plain), (plain, boxes)):
            seen = cctrl.parse_change(printed(echo, ("ls", first), ("router * offline", ""), ("ls", last)))
            assert seen["before"]["datasources"] == cctrl.parse_ls(first)["datasources"]
            assert seen["after"]["datasources"] == cctrl.parse_ls(last)["datasources"]
            assert seen["said"] == []

    def test_a_manuals_listing_that_is_cut_off_does_not_go_on_in_the_next(self, echo):
        cut = "\nCOORDINATOR[east1:AUTOMATIC:ONLINE]\n\nDATASOURCES:\n|east2(slave:ONLINE, progress=3, latency=1.2)"
        seen = cctrl.parse_change(printed(echo, ("ls", f"{cut}\n"), ("ls", listing(east1="master:ONLINE"))))
        assert set(seen["before"]["datasources"]) == {"east2"} and seen["before"]["routers"] == {}
        assert seen["before"]["datasources"]["east2"]["replicator"] is None

    def test_nothing_in_a_box_is_an_answer(self, echo):
        lying = listing(east1="master:ONLINE").replace(
            "|  MANAGER", "|REASON[policy mode is now\npolicy mode is now MAINTENANCE]  |\n|  MANAGER")
        assert cctrl.parse_change(printed(echo, ("ls", lying), ("ls", lying)))["said"] == []

    @pytest.mark.parametrize("answers", [
        (("ls", "ERROR: no manager\n"), ("set policy manual", ""), ("ls", "\nCOORDINATOR[east1:MANUAL:ONLINE]\n")),
        (("ls", "\nCOORDINATOR[east1:MANUAL:ONLINE]\n"), ("set policy manual", ""), ("ls", "ERROR: no manager\n")),
        (("ls", "\nCOORDINATOR[east1:MANUAL:ONLINE]\neast:COORDINATOR[east1:MANUAL:ONLINE]\n"),),
    ])
    def test_one_listing_is_not_two(self, echo, answers):
        with pytest.raises(CommandExecutionError, match="cannot be read, it does not hold"):
            cctrl.parse_change(printed(echo, *answers))


@pytest.fixture
def tool(tmp_path):
    path = tmp_path / cctrl.TOOL
    path.parent.mkdir(parents=True)
    path.touch()
    return tmp_path


@pytest.fixture
def run():
    return create_autospec(vendorlog.run)


@pytest.fixture
def configure_loader_modules(tool, run):
    node = create_autospec(topology.node, return_value={"cluster_home": str(tool), "user": "tungsten"})
    return {cctrl: {"__salt__": {"vendorlog.run": run, "topology.node": node}}}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """A clock of its own for the module; the process's real one must go on for everybody else."""
    clock = iter(range(10**6))
    monkeypatch.setattr(cctrl, "time", SimpleNamespace(sleep=lambda seconds: None, monotonic=lambda: next(clock) * 10))


def answers(run, *texts):
    run.side_effect = [{"retcode": 0, "stdout": text, "stderr": ""} for text in texts]


def typed(run, call=0):
    return run.call_args_list[call].kwargs["stdin"].splitlines()


class TestSession:
    def test_how_it_is_called(self, run, tool):
        answers(run, "said")
        assert cctrl.session("ls", timeout=7) == "said"
        run.assert_called_once_with([str(tool / cctrl.TOOL), "-expert"], 7, stdin="ls\n")

    @pytest.mark.parametrize("line", [
        "ls; quit", "ls\nset policy automatic", "datasource east1 fail", "datasource * shun", "failover", "",
        "router * kill",
        "datasource east1;ls shun", None, "datasource -x shun",
    ])
    def test_other_lines_are_never_typed(self, run, line):
        with pytest.raises(SaltInvocationError):
            cctrl.session(line)
        run.assert_not_called()

    @pytest.mark.parametrize(
        "code, said", [(124, "did not end within 60 s"), (137, "did not end"), (1, "ended with 1")])
    def test_a_hang_and_an_exit_code_quote_what_was_printed(self, run, code, said):
        run.return_value = {"retcode": code, "stdout": "half a line", "stderr": "no manager"}
        with pytest.raises(CommandExecutionError, match=f"(?s){said}.*half a line.*no manager"):
            cctrl.session("ls")

    def test_a_missing_tool_is_named(self, tool):
        (tool / cctrl.TOOL).unlink()
        with pytest.raises(CommandExecutionError, match="looked for"):
            cctrl.session("ls")


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_session_cut_anywhere_is_refused_or_its_first_listing_is_whole(data):
    first = listing(policy="AUTOMATIC", east1="master:ONLINE", east2="slave:ONLINE")
    text = printed(True, ("ls", first), ("router * offline", "words\n"),
                   ("ls", listing(router="OFFLINE", east1="master:ONLINE")))
    cut = text[: data.draw(st.integers(0, len(text)))]
    try:
        seen = cctrl.parse_change(cut)
    except CommandExecutionError:
        return
    assert seen["before"] == cctrl.parse_change(text)["before"] and seen["said"] == ["words"]


MANUALLY = "SHUNNED(MANUALLY-SHUNNED)"
CONFIRMED = "policy mode is now MAINTENANCE\n"


class TestActing:
    def test_policy_is_one_session(self, run):
        answers(run, listing() + CONFIRMED + listing(policy="MAINTENANCE"))
        seen = cctrl.set_policy("MAINTENANCE")
        assert [seen[when]["coordinator"]["policy"] for when in ("before", "after")] == ["AUTOMATIC", "MAINTENANCE"]
        assert run.call_count == 1 and typed(run) == ["ls", "set policy maintenance", "ls"]

    @pytest.mark.parametrize("said", [
        "", "[LOGICAL] /east > set policy maintenance\n", "policy mode is now AUTOMATIC\n", "ERROR: not now\n"])
    def test_an_echoed_command_is_not_its_reply(self, run, said):
        answers(run, listing() + said + listing(policy="MAINTENANCE"))
        with pytest.raises(CommandExecutionError, match="did not confirm") as told:
            cctrl.set_policy("MAINTENANCE")
        assert told.value.info["before"]["coordinator"]["policy"] == "AUTOMATIC"
        assert "Additional info" not in str(told.value)

    @pytest.mark.parametrize("said", [
        CONFIRMED + listing() + listing(policy="MAINTENANCE"),
        listing() + listing(policy="MAINTENANCE") + CONFIRMED,
        listing(east1="master:ONLINE").replace("|STATUS", f"|REASON[x\n{CONFIRMED}]|\n|STATUS")
        + listing(policy="MAINTENANCE"),
    ], ids=["before", "after", "in a box"])
    def test_a_reply_stands_between_the_listings(self, run, said):
        answers(run, said)
        with pytest.raises(CommandExecutionError, match="did not confirm"):
            cctrl.set_policy("MAINTENANCE")

    def test_a_policy_that_is_set_already_needs_no_reply(self, run):
        same = listing(policy="MAINTENANCE")
        answers(run, same + "policy mode is already MAINTENANCE\n" + same)
        seen = cctrl.set_policy("MAINTENANCE")
        assert seen["before"] == seen["after"] and run.call_count == 1

    def test_a_lying_reply_is_found_out(self, run):
        answers(run, listing() + CONFIRMED + listing(), *[listing()] * 20)
        with pytest.raises(CommandExecutionError, match="does not show it(?s:.*)is now MAIN(?s:.*)policy AUTOMATIC"):
            cctrl.set_policy("MAINTENANCE")

    @pytest.mark.parametrize("said", [
        "ERROR: no manager\n" + CONFIRMED + listing(policy="MAINTENANCE"),
        listing(policy="MAINTENANCE") + CONFIRMED + "ERROR: no manager\n",
    ], ids=["before", "after"])
    def test_without_a_look_before_or_after_nothing_is_claimed(self, run, said):
        answers(run, said, listing(policy="MAINTENANCE", east1="master:ONLINE"))
        with pytest.raises(CommandExecutionError, match="cannot be read(?s:.*)Its ls shows now: policy MAINT") as told:
            cctrl.set_policy("MAINTENANCE")
        assert told.value.info is None and typed(run, 1) == ["ls"] and run.call_count == 2

    @pytest.mark.parametrize("code", [124, 1])
    def test_of_a_session_that_was_cut_short_what_it_has_done_is_told(self, run, code):
        run.side_effect = [
            {"retcode": code, "stdout": listing() + "waiting\n", "stderr": ""},
            {"retcode": 0, "stdout": listing(policy="MAINTENANCE"), "stderr": ""}]
        with pytest.raises(CommandExecutionError, match="waiting(?s:.*)Its ls shows now: policy MAINT") as told:
            cctrl.set_policy("MAINTENANCE")
        assert "|connector" not in str(told.value), "how it was before is not what it has said"

    def test_nor_is_that_known_from_one_that_goes_on_hanging(self, run):
        run.return_value = {"retcode": 124, "stdout": "", "stderr": ""}
        with pytest.raises(CommandExecutionError, match="What it has done is not known: cctrl did not end within"):
            cctrl.set_policy("MAINTENANCE")

    def test_routers_are_looked_at_told_and_waited_for(self, run):
        answers(run, listing(), listing(), listing(router="OFFLINE"))
        seen = cctrl.set_routers("OFFLINE")
        states = [seen[when]["routers"]["connector@east1"]["state"] for when in ("before", "after")]
        assert states == ["ONLINE", "OFFLINE"]
        assert [typed(run, call) for call in range(3)] == [["ls"], ["router * offline", "ls"], ["ls"]]

    def test_routers_that_are_so_already_are_left_alone(self, run):
        answers(run, listing(router="ONLINE"))
        seen = cctrl.set_routers("ONLINE")
        assert seen["before"] == seen["after"] and typed(run) == ["ls"]

    def test_a_router_that_is_not_listed_any_more_is_not_offline(self, run):
        """It may be the listing that was cut off."""
        two = "|connector@east1[1](ONLINE, created=0, active=0)|\n|connector@east2[1](ONLINE, created=0, active=0)|\n"
        before = listing().replace("\nROUTERS:\n", f"\nROUTERS:\n{two}")
        run.side_effect = [{"retcode": 0, "stdout": before, "stderr": ""}] + [
            {"retcode": 0, "stdout": listing(router="OFFLINE"), "stderr": ""}] * 20
        with pytest.raises(CommandExecutionError, match="does not show it"):
            cctrl.set_routers("OFFLINE")

    def test_no_router_listed_proves_nothing(self, run):
        empty = listing(east1="master:ONLINE").replace("|connector@", "|nothing@@")
        run.return_value = {"retcode": 0, "stdout": empty, "stderr": ""}
        with pytest.raises(CommandExecutionError, match="does not show it"):
            cctrl.set_routers("OFFLINE")

    def test_shun_carries_force_in_its_session_and_waits_for_the_replicator(self, run):
        shunned = f"master:{MANUALLY}"
        answers(run, listing(east1="master:ONLINE"), listing(east1=shunned),
                listing(east1=shunned, replicator="OFFLINE"))
        seen = cctrl.shun("east1", force=True)
        assert [seen[when]["datasources"]["east1"]["state"] for when in ("before", "after")] == ["ONLINE", "SHUNNED"]
        assert [typed(run, call) for call in range(3)] == [
            ["ls"], ["set force true", "datasource east1 shun", "replicator east1 offline", "ls"], ["ls"]]

    def test_shun_without_force(self, run):
        answers(run, listing(east2="slave:ONLINE"), listing(east2=f"slave:{MANUALLY}", replicator="OFFLINE"))
        cctrl.shun("east2")
        assert [typed(run, call) for call in range(run.call_count)] == [
            ["ls"], ["datasource east2 shun", "replicator east2 offline", "ls"]]

    def test_what_is_shunned_is_not_shunned_again(self, run):
        answers(run, listing(east1="master:SHUNNED(FAILED-OVER-TO-east2)", replicator="OFFLINE"))
        seen = cctrl.shun("east1", force=True)
        assert seen["before"] == seen["after"] and typed(run) == ["ls"]

    @pytest.mark.parametrize("act, args", [("shun", ("west3",)), ("bring_back", ("west3", "recover"))])
    def test_nothing_is_done_to_a_datasource_unseen(self, run, act, args):
        answers(run, "ERROR: no manager\n")
        with pytest.raises(CommandExecutionError, match="cannot be read") as told:
            getattr(cctrl, act)(*args)
        assert told.value.info is None and typed(run) == ["ls"]

    @pytest.mark.parametrize("policy", ["MAINTENANCE", "MANUAL"])
    @pytest.mark.parametrize("how, force", [("recover", []), ("welcome", ["set force true"])])
    def test_outside_automatic_the_way_back_is_one_session(self, run, policy, how, force):
        answers(run, listing(policy=policy, west3=f"slave:{MANUALLY}", replicator="OFFLINE"),
                "DataSource 'west3' is now OFFLINE\n" + listing(policy=policy, west3="slave:ONLINE"))
        seen = cctrl.bring_back("west3", how)
        assert [seen[when]["datasources"]["west3"]["state"] for when in ("before", "after")] == ["SHUNNED", "ONLINE"]
        assert [typed(run, call) for call in range(run.call_count)] == [
            ["ls"],
            [*force, f"datasource west3 {how}", "datasource west3 online", "ls"]]

    def test_its_replicator_is_never_forced(self, run):
        answers(run, listing(policy="MAINTENANCE", east1=f"master:{MANUALLY}", replicator="OFFLINE"),
                listing(policy="MAINTENANCE", east1="master:ONLINE", replicator="OFFLINE"),
                listing(policy="MAINTENANCE", east1="master:ONLINE"))
        cctrl.bring_back("east1", "welcome")
        assert [typed(run, call) for call in range(run.call_count)] == [
            ["ls"], ["set force true", "datasource east1 welcome", "datasource east1 online", "ls"],
            ["replicator east1 online", "ls"]]

    @pytest.mark.parametrize("words", [
        {"policy": "AUTOMATIC", "west3": f"slave:{MANUALLY}"},
        {"policy": "MAINTENANCE", "west3": "slave:SHUNNED(FAILED-OVER-TO-west1)"},
        {"policy": "MAINTENANCE", "west3": "slave:SHUNNED"},
        {"policy": "MAINTENANCE", "west3": "slave:FAILED(DATASERVER 'west3@west' STOPPED)"},
        {"policy": "MAINTENANCE", "west3": "slave:FAILED(MANUALLY-SHUNNED)"},
    ])
    def test_online_is_not_typed_unseen_where_recover_may_do_more(self, run, words):
        answers(run, listing(**words, replicator="OFFLINE"), listing(**{**words, "west3": "slave:ONLINE"}))
        cctrl.bring_back("west3", "recover")
        assert [typed(run, call) for call in range(run.call_count)] == [["ls"], ["datasource west3 recover", "ls"]]

    def test_recover_that_ends_offline_is_put_online(self, run):
        answers(run, listing(west3=f"slave:{MANUALLY}", replicator="OFFLINE"),
                "DataSource 'west3' is now OFFLINE\n" + listing(west3="slave:OFFLINE", replicator="OFFLINE"),
                listing(west3="slave:ONLINE"))
        cctrl.bring_back("west3", "recover")
        assert [typed(run, call) for call in range(run.call_count)] == [
            ["ls"], ["datasource west3 recover", "ls"], ["datasource west3 online", "replicator west3 online", "ls"]]

    def test_only_the_replicator_is_missing(self, run):
        answers(run, listing(west3="slave:ONLINE", replicator="OFFLINE"), listing(west3="slave:ONLINE"))
        cctrl.bring_back("west3", "recover")
        assert [typed(run, call) for call in range(run.call_count)] == [["ls"], ["replicator west3 online", "ls"]]

    def test_what_the_tool_left_offline_is_only_put_online(self, run):
        answers(run, listing(policy="MAINTENANCE", east2="slave:OFFLINE"), listing(east2="slave:ONLINE"))
        cctrl.bring_back("east2", "recover")
        assert [typed(run, call) for call in range(run.call_count)] == [
            ["ls"], ["datasource east2 online", "replicator east2 online", "ls"]]

    def test_what_is_online_is_left_alone(self, run):
        answers(run, listing(east1="master:ONLINE"))
        seen = cctrl.bring_back("east1", "welcome")
        assert seen["before"] == seen["after"] and typed(run) == ["ls"]

    @pytest.mark.parametrize("policy", ["AUTOMATIC", "MAINTENANCE"])
    def test_a_refused_recover_is_quoted(self, run, policy):
        shunned = listing(policy=policy, west3=f"slave:{MANUALLY}")
        run.return_value = {
            "retcode": 0, "stdout": "Recovery failed because of unextracted events\n" + shunned, "stderr": ""}
        with pytest.raises(CommandExecutionError, match="unextracted events") as told:
            cctrl.bring_back("west3", "recover")
        assert told.value.info["before"]["datasources"]["west3"]["state"] == "SHUNNED"

    def test_an_unknown_way_back(self, run):
        with pytest.raises(SaltInvocationError):
            cctrl.bring_back("west3", "force")
        run.assert_not_called()
