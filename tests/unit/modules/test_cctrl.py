"""cctrl: every known sample is read, nothing is invented, and no command counts before an ls shows it."""

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

    @settings(max_examples=200, deadline=None)
    @given(st.text(alphabet="|()[]:,= \nONLIEmaster1-COORDINATOR", max_size=200))
    def test_no_text_crashes_it(self, text):
        try:
            cctrl.parse_ls(text)
        except CommandExecutionError:
            pass


def listing(policy="AUTOMATIC", router="ONLINE", replicator="ONLINE", dataserver="ONLINE", **sources):
    """What ls prints, in short."""
    boxes = "".join(
        f"|{host}({head}, progress=3, latency=0.5)   |\n|STATUS [OK] [2025/01/24 02:59:42 PM UTC]  |\n"
        f"|  MANAGER(state=ONLINE)   |\n|  REPLICATOR(role={head.split(':')[0]}, state={replicator})   |\n"
        f"|  DATASERVER(state={dataserver})   |\n|  CONNECTIONS(created=0, active=0)  |\n"
        for host, head in sources.items())
    return (f"[LOGICAL:EXPERT] /east > \nCOORDINATOR[east1:{policy}:ONLINE]\n\nROUTERS:\n"
            f"|connector@east1[8805]({router}, created=0, active=0)  |\n\nDATASOURCES:\n{boxes}\n")


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


class TestActing:
    def test_policy(self, run):
        answers(run, "policy mode is now MAINTENANCE\n" + listing(policy="MAINTENANCE"))
        assert cctrl.set_policy("MAINTENANCE")["coordinator"]["policy"] == "MAINTENANCE"
        assert typed(run) == ["set policy maintenance", "ls"]

    @pytest.mark.parametrize("said", [
        "", "[LOGICAL] /east > set policy maintenance\n", "policy mode is now AUTOMATIC\n"])
    def test_an_echoed_command_is_not_its_reply(self, run, said):
        answers(run, said + listing(policy="MAINTENANCE"))
        with pytest.raises(CommandExecutionError, match="did not confirm"):
            cctrl.set_policy("MAINTENANCE")

    def test_a_lying_reply_is_found_out(self, run):
        run.return_value = {"retcode": 0, "stdout": "policy mode is now MAINTENANCE\n" + listing(), "stderr": ""}
        with pytest.raises(CommandExecutionError, match="does not show it(?s:.*)policy AUTOMATIC"):
            cctrl.set_policy("MAINTENANCE")

    def test_shun_carries_force_in_its_session_and_waits_for_the_replicator(self, run):
        shunned = "master:SHUNNED(MANUALLY-SHUNNED)"
        answers(run, listing(east1=shunned), listing(east1=shunned, replicator="OFFLINE"))
        cctrl.shun("east1", force=True)
        assert typed(run) == ["set force true", "datasource east1 shun", "replicator east1 offline", "ls"]
        assert typed(run, 1) == ["ls"]

    def test_shun_without_force(self, run):
        answers(run, listing(east2="slave:SHUNNED(MANUALLY-SHUNNED)", replicator="OFFLINE"))
        cctrl.shun("east2")
        assert "set force true" not in typed(run)

    def test_no_router_listed_proves_nothing(self, run):
        empty = listing(east1="master:ONLINE").replace("|connector@", "|nothing@@")
        run.return_value = {"retcode": 0, "stdout": empty, "stderr": ""}
        with pytest.raises(CommandExecutionError, match="does not show it"):
            cctrl.set_routers("OFFLINE")

    def test_recover_that_ends_offline_is_put_online(self, run):
        answers(run, listing(west3="slave:SHUNNED(MANUALLY-SHUNNED)", replicator="OFFLINE"),
                "DataSource 'west3' is now OFFLINE\n" + listing(west3="slave:OFFLINE", replicator="OFFLINE"),
                listing(west3="slave:ONLINE"))
        cctrl.bring_back("west3", "recover")
        assert typed(run, 1) == ["datasource west3 recover", "ls"]
        assert typed(run, 2) == ["datasource west3 online", "replicator west3 online", "ls"]

    def test_recover_that_is_enough_is_left_alone(self, run):
        answers(run, listing(west3="slave:SHUNNED(MANUALLY-SHUNNED)"), listing(west3="slave:ONLINE"))
        cctrl.bring_back("west3", "recover")
        assert run.call_count == 2

    def test_welcome_is_forced(self, run):
        answers(run, listing(east1="master:SHUNNED(MANUALLY-SHUNNED)"), listing(east1="master:ONLINE"))
        cctrl.bring_back("east1", "welcome")
        assert typed(run, 1) == ["set force true", "datasource east1 welcome", "ls"]

    def test_a_refused_recover_is_quoted(self, run):
        shunned = listing(west3="slave:SHUNNED(MANUALLY-SHUNNED)")
        run.return_value = {
            "retcode": 0, "stdout": "Recovery failed because of unextracted events\n" + shunned, "stderr": ""}
        with pytest.raises(CommandExecutionError, match="unextracted events"):
            cctrl.bring_back("west3", "recover")

    def test_an_unknown_way_back(self):
        with pytest.raises(SaltInvocationError):
            cctrl.bring_back("west3", "force")
