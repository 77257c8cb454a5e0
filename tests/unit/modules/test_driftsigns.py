"""driftsigns: what the services of a host say about drift, and what they do not."""

import copy
import json
import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.loader import load

driftsigns = load("_modules", "driftsigns")
trepctl = load("_modules", "trepctl")

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
RECORDINGS = {
    made["name"]: made for made in map(json.loads, (FIXTURES / "trepctl-recordings.jsonl").read_text().splitlines())
}
WELL = {"serviceName": "west", "state": "ONLINE", "started": True, "appliedLastSeqno": 10, "maximumStoredSeqNo": 12,
        "appliedLatency": 0.5, "pendingError": None, "pendingExceptionMessage": None}  # fmt: skip
DOWN = {**WELL, "state": "OFFLINE:NORMAL", "appliedLastSeqno": -1, "maximumStoredSeqNo": -1, "appliedLatency": -1.0}


def recorded(name, service):
    text = RECORDINGS[name]["stdout"]
    return (trepctl.parse_services(text) if "services" in name else {service: trepctl.parse_status(text)})[service]


def sign(now, **kwargs):
    services = {} if now is None else {"west": now}
    return driftsigns.judge(services, ["west"], **kwargs)["west"]


def failed(error, message=None):
    return {**DOWN, "state": "OFFLINE:ERROR", "pendingError": error, "pendingExceptionMessage": message}


def test_a_service_that_is_well():
    assert sign(WELL) == {"sign": "well", "what": "service west is ONLINE at 10", "data": False,
                          "applied": 10, "stored": 12}  # fmt: skip


def test_only_what_must_be_there_is_looked_at():
    services = {"west": WELL, "audit": failed("Duplicate entry '1' for key 'PRIMARY'")}
    assert set(driftsigns.judge(services, ["west"])) == {"west"}
    assert driftsigns.judge({}, []) == {}


def test_a_service_that_has_gone_names_those_that_are_there():
    found = driftsigns.judge({"north": WELL}, ["west", "north"])
    assert found["west"]["sign"] == "vanished" and "has north" in found["west"]["what"]
    assert found["north"]["sign"] == "well"
    assert "has none" in sign(None)["what"]
    assert (sign(None)["applied"], sign(None)["stored"], sign(None)["data"]) == (None, None, False)


@pytest.mark.parametrize("now", [
    recorded("195-services-full-json-unloaded", "east"),
    {**WELL, "started": False},
    {**WELL, "state": None},
    {"serviceName": "west"},
])
def test_a_service_that_is_not_loaded(now):
    assert sign(now)["sign"] == "unloaded"


@pytest.mark.parametrize("state", [
    "OFFLINE:NORMAL", "OFFLINE:BACKUP", "OFFLINE:RESTORING", "OFFLINE:CONFIGURING", "GOING-OFFLINE", "START",
    "GOING-ONLINE:SYNCHRONIZING", "GOING-ONLINE:PROVISIONING", "SOMETHING-NEW",
])
def test_what_somebody_has_put_there_is_told_without_an_alarm(state):
    found = sign({**DOWN, "state": state}, before={"west": {"applied": 10, "stored": 10}})
    assert found["sign"] == "offline" and state in found["what"]
    assert (found["applied"], found["stored"], found["data"]) == (None, None, False)
    assert driftsigns.alarming({"west": found}) == {}


def test_a_service_that_is_put_offline_is_not_late():
    assert sign({**DOWN, "appliedLatency": 9999.0})["sign"] == "offline"


# --- late


@pytest.mark.parametrize("latency, expected", [
    (300.0, "well"), (300.1, "late"), (0.0, "well"), (-1.0, "well"), (None, "well"),
])
def test_late_is_more_than_the_limit(latency, expected):
    assert sign({**WELL, "appliedLatency": latency})["sign"] == expected


def test_the_limit_can_be_set():
    found = sign({**WELL, "appliedLatency": 61.0}, latency=60)
    assert found["sign"] == "late" and "61 s behind, more than 60 s" in found["what"]


def test_one_that_synchronizes_may_be_late_as_well():
    assert sign({**WELL, "state": "GOING-ONLINE:SYNCHRONIZING", "appliedLatency": 900.0})["sign"] == "late"


@pytest.mark.parametrize("applied, stored, before, expected", [
    (10, 10, {"applied": 10, "stored": 10}, "well"),  # nothing came since: the figure is an old transaction's
    (10, 10, {"applied": 10, "stored": 9}, "well"),
    (10, 12, {"applied": 10, "stored": 12}, "late"),  # something waits to be applied
    (11, 11, {"applied": 10, "stored": 10}, "late"),  # it was new, and late
    (10, 10, {"applied": None, "stored": None}, "late"),
    (None, None, {"applied": None, "stored": None}, "late"),
    (10, 10, None, "late"),
])
def test_a_service_that_has_nothing_to_do_is_not_late(applied, stored, before, expected):
    now = {**WELL, "appliedLastSeqno": applied, "maximumStoredSeqNo": stored, "appliedLatency": 900.0}
    assert sign(now, before={"west": before} if before else None)["sign"] == expected


@pytest.mark.parametrize("state, waits, expected", [
    ("GOING-ONLINE:SYNCHRONIZING", 300.0, "offline"),
    ("GOING-ONLINE:SYNCHRONIZING", 300.1, "late"),
    ("GOING-ONLINE:SYNCHRONIZING", None, "offline"),
    ("OFFLINE:NORMAL", 9999.0, "offline"),  # by somebody, who knows
    ("ONLINE", 9999.0, "well"),
])
def test_a_service_that_waits_for_its_source_for_long_is_late(state, waits, expected):
    found = sign({**WELL, "state": state, "timeInStateSeconds": waits})
    assert found["sign"] == expected
    if expected == "late":
        assert "GOING-ONLINE:SYNCHRONIZING for 300 s, more than 300 s" in found["what"]


def test_a_degraded_service_is_looked_at_like_one_that_is_online():
    assert sign({**WELL, "state": "ONLINE:DEGRADED"})["sign"] == "well"
    assert sign({**WELL, "state": "ONLINE:DEGRADED", "appliedLatency": 900.0})["sign"] == "late"


# --- stalled


@pytest.mark.parametrize("before, applied, stored, expected", [
    ({"applied": 10, "stored": 12}, 10, 20, "stalled"),
    ({"applied": 10, "stored": 10}, 10, 11, "stalled"),
    ({"applied": -1, "stored": -1}, -1, 5, "stalled"),  # ONLINE, and not even the first one applied
    ({"applied": 10, "stored": 12}, 10, 12, "well"),  # the source rests
    ({"applied": 10, "stored": 12}, 11, 20, "well"),
    ({"applied": 10, "stored": 12}, 3, 20, "well"),  # reset meanwhile
    ({"applied": 10, "stored": 8}, 10, 10, "well"),  # all that is there is applied
    ({"applied": 10, "stored": 20}, 10, 15, "well"),
    ({"applied": None, "stored": None}, 10, 20, "well"),  # was not ONLINE
    ({"applied": 10, "stored": None}, 10, 20, "well"),
    ({"applied": 10, "stored": 12}, None, 20, "well"),
    ({"applied": 10, "stored": 12}, 10, None, "well"),
    ({}, 10, 20, "well"),
    (None, 10, 20, "well"),
])
def test_stalled_is_a_log_that_grows_while_nothing_is_applied(before, applied, stored, expected):
    now = {**WELL, "appliedLastSeqno": applied, "maximumStoredSeqNo": stored}
    found = sign(now, before={"west": before} if before is not None else None)
    assert found["sign"] == expected
    assert (found["applied"], found["stored"]) == (applied, stored)


def test_without_an_earlier_look_at_it_nothing_is_stalled():
    assert sign(WELL, before={"north": {"applied": 10, "stored": 10}})["sign"] == "well"


# --- error


@pytest.mark.parametrize("recording, service, data, words", [
    ("230-error-services-full-json", "east", True, "Duplicate entry '?' for key 'PRIMARY'"),
    ("248-error2-status-json", "east", True, "did not process any row"),
    ("251-error3-status-json", "east", True, "Statement failed on slave but succeeded on master"),
    ("178-status-json-slave-after-master-reset", "east", False, "does not contain requested transaction"),
])
def test_recorded_errors(recording, service, data, words):
    now = recorded(recording, service)
    found = driftsigns.judge({service: now}, [service])[service]
    assert found["sign"] == "error" and found["data"] is data
    assert words in found["what"] and now["pendingError"].split(":")[0] in found["what"]
    assert (found["applied"], found["stored"]) == (None, None)
    assert "\n" not in found["what"] and len(found["what"]) < 560


def test_every_recording_of_services_has_a_sign():
    seen = set()
    for made in RECORDINGS.values():
        if "services" in made["argv"] and "status" not in made["argv"] and made["rc"] == 0:
            services = trepctl.parse_services(made["stdout"])
            seen |= {found["sign"] for found in driftsigns.judge(services, list(services)).values()}
    assert {"well", "error", "unloaded"} <= seen


@pytest.mark.parametrize("message", [
    "java.sql.SQLIntegrityConstraintViolationException: Duplicate entry '500' for key 'PRIMARY'",
    "Could not execute Update_rows_v1 event on table shop.t; Can't find record in 't', Error_code: 1032;"
    " handler error HA_ERR_KEY_NOT_FOUND; the event's master log master-bin.000002, end_log_pos 1234",
    "Could not execute Write_rows_v1 event on table shop.t; Duplicate entry '5' for key 'PRIMARY', Error_code: 1062",
    "handler error HA_ERR_END_OF_FILE",
    "Error 'Table 'shop.t' doesn't exist' on query. Default database: 'shop'. Query: 'insert into t values (1)'",
    "Error 'Unknown column 'x' in 'field list'' on query.",
    "Error 'Duplicate entry '5' for key 'PRIMARY'' on query. Default database: 'shop'.",
    "Error 'Can't find record in 't'' on query.",
    "Table 'shop.t' already exists",
    "Cannot add or update a child row: a foreign key constraint fails (`shop`.`t`, CONSTRAINT …)",
    "Cannot delete or update a parent row: a foreign key constraint fails",
    "Column 1 of table 'shop.t' cannot be converted from type 'int' to type 'varchar(9)'",
    "Column count doesn't match value count at row 1",
    "Can't DROP 'i'; check that column/key exists",
    "Statement failed on slave but succeeded on master",
    "Statement failed on replica but succeeded on primary",
    "Consistency check failed on shop.t",
    "UPDATE or DELETE statement did not process any row",
    "something, MySQL error 1452", "ERROR 1054 (42S22): …", "errno=1146", "SQL error code [1451]", "error number 1062",
    "Duplicate entry 'Access denied' for key 'PRIMARY'",  # a value out of a row does not speak for the server
    "Duplicate entry 'No space left on device' for key 'name'",
    "Duplicate entry 'O'Brien' for key 'PRIMARY'",
    "Duplicate entry 'O'Brien: access denied' for key 'PRIMARY'",
    "Duplicate entry 'access den",  # what was cut
    "Incorrect integer value: 'Deadlock found' for column 'n' at row 1, Error_code: 1062",
    "Unknown column 'access denied' in 'field list'",  # nor does a name
])
def test_errors_that_say_that_the_data_are_not_what_the_log_expects(message):
    assert sign(failed("Stage task failed: stage=q-to-dbms seqno=5 fragno=0", message))["data"] is True
    assert sign(failed(f"Event application failed: seqno=5 fragno=0 message={message}"))["data"] is True


@pytest.mark.parametrize("message", [
    "Heartbeat operation failed due to SQL error: Could not connect: Connection refused",
    "Unable to prepare plugin: message=[Unable to connect to DBMS: url=jdbc:mysql:thin://127.0.0.1:13306/tungsten_west]",
    "Unable to connect to DBMS: Unknown database 'tungsten_west'",
    "Client handshake failure: Master log does not contain requested transaction: client source ID=db2 seqno=17",
    "Access denied for user 'tungsten'@'east1' (using password: YES)",
    "Lock wait timeout exceeded; try restarting transaction",
    "Deadlock found when trying to get lock; try restarting transaction",
    "Error writing file '/tmp/MLxyz' (Errcode: 28 \"No space left on device\")",
    "Disk full (/tmp/#sql1); waiting for someone to free some space",
    "The table 't' is full", "The table 'shop.t' is full, error 1114",
    "The MySQL server is running with the --read-only option so it cannot execute this statement",
    "Communications link failure", "MySQL server has gone away",
    "Statement failed on slave but succeeded on master: Lock wait timeout exceeded",
    "Statement failed on slave but succeeded on master, error 1205",
    "Unexpected failure while extracting event bin-log.000167 (570)",
    "Event extraction failed: seqno=1062 fragno=0", "port 1032", "error at position 10621",
    "Got a packet bigger than 'max_allowed_packet' bytes",
    # A value out of a row does not speak for the server.
    "Incorrect datetime value: 'duplicate entry' for column 'd' at row 1",
    "Error 'Incorrect datetime value: 'duplicate entry' for column 'd' at row 1' on query. Default database: 'shop'.",
    "Incorrect string value: 'it's errno 1062' for column 'name'",
    "Truncated incorrect DOUBLE value: 'table x doesn't exist'",
    "Incorrect integer value: 'row not fou",  # what was cut
    None,
])
def test_errors_that_say_nothing_about_the_data(message):
    assert sign(failed("Stage task failed: stage=q-to-dbms seqno=5 fragno=0", message))["data"] is False
    assert sign(failed("Event application failed", message))["sign"] == "error"


@pytest.mark.parametrize("rest", [
    "\nFailing statement : INSERT INTO `t` VALUES ('Duplicate entry', 'Error_code: 1062')",
    "\nFailing statement: INSERT INTO t VALUES ( ? )\nArguments:\n - ROW# = 0\n  - COL(name=v) = Duplicate entry",
    "\ncreate table `Can't find record` (id int)",
    " on query. Query: 'insert into t values (\"Table x doesn't exist\")'",
])
def test_the_statement_is_no_witness(rest):
    assert sign(failed("Stage task failed", f"Something else{rest}"))["data"] is False
    witness = f"Duplicate entry '5' for key 'PRIMARY'{rest}access denied"
    assert sign(failed("Stage task failed", witness))["data"] is True


@pytest.mark.parametrize("rest, kept", [
    ("\nFailing statement : INSERT INTO `t` VALUES ( ? )\nArguments:\n - COL(name=v) = hunter2", "INSERT INTO `t`"),
    ("\nCREATE USER x IDENTIFIED BY 'hunter2'", "CREATE USER x IDENTIFIED BY ?"),
    ("\nCREATE USER x IDENTIFIED BY 'it\\'s hunter2'", "IDENTIFIED BY ?"),
    ("\nCREATE USER x IDENTIFIED BY 'it''s hunter2'", "IDENTIFIED BY ?"),
    ("\nINSERT INTO t VALUES (\"hunter2", "INSERT INTO t VALUES (?"),
    ("\nINSERT INTO t VALUES (0x68756e74657232)", "INSERT INTO t VALUES (?)"),
    ("\nINSERT INTO t VALUES (4711471147114711, 3.25)", "INSERT INTO t VALUES (?, ?)"),
    (" on query. Default database: ''. Query: 'insert into t values (hunter2", "on query."),
])
def test_what_a_statement_writes_is_not_told(rest, kept):
    what = sign(failed("Event application failed", f"Statement failed on slave but succeeded on master{rest}"))["what"]
    assert kept in what
    assert not re.search("hunter2|68756e74657232|4711", what)


@pytest.mark.parametrize("message, told", [
    ("Duplicate entry 'hunter2' for key 'PRIMARY'", "Duplicate entry '?' for key 'PRIMARY'"),
    ("duplicate entry 'it's hunter2' for key 'name'", "duplicate entry '?' for key 'name'"),
    ("Incorrect integer value: 'hunter2' for column 'n' at row 1",
     "Incorrect integer value: '?' for column 'n' at row 1"),
    ("Incorrect value 'hunter2' for column `s`.`t`.`n`", "Incorrect value '?' for column `s`.`t`.`n`"),
    ("Error 'Duplicate entry 'hunter2' for key 'name'' on query.",
     "Error 'Duplicate entry '?' for key 'name'' on query."),
    ("Truncated incorrect DOUBLE value: 'hunter2'", "Truncated incorrect DOUBLE value: '?'"),
    ("Duplicate entry 'hunter2", "Duplicate entry '?'"),
    ("Duplicate entry '1' for key 'a', Duplicate entry '2' for key 'b'",
     "Duplicate entry '?' for key 'a', Duplicate entry '?' for key 'b'"),
    # Names of tables and columns are no values.
    ("Error 'Table 'shop.t' doesn't exist' on query.", "Error 'Table 'shop.t' doesn't exist' on query."),
])
def test_a_value_that_the_server_names_is_not_told(message, told):
    assert sign(failed("Event application failed", message))["what"].endswith(f"Event application failed; {told}")
    assert sign(failed(message, message))["what"].endswith(f": {told}"), "though it is said twice"


def test_a_value_that_was_cut_does_not_hide_what_the_next_message_says():
    assert sign(failed("message=Duplicate entry 'hunter", "Lock wait timeout exceeded"))["data"] is False
    assert sign(failed("message=Incorrect integer value: 'hunter", "Duplicate entry '5' for key 'a'"))["data"] is True


def test_a_long_error_is_cut_and_in_one_line():
    what = sign(failed("first\r\n  line", "x " * 4000))["what"]
    assert "\n" not in what and "first line; x x" in what and what.endswith("…")
    assert len(what.partition(": ")[2]) <= 500


def test_what_both_messages_say_is_said_once():
    message = "java.sql.SQLException: Duplicate entry '5' for key 'PRIMARY'"
    failure = failed(f"Event application failed: seqno=3 message={message}", f"{message}\nFailing statement: X")
    what = sign(failure)["what"]
    assert what.count("Duplicate entry") == 1 and what.endswith("; Failing statement: X")


def test_an_error_without_a_word():
    assert sign(failed(None))["what"] == "service west is OFFLINE:ERROR: it does not say why"


def test_an_error_comes_before_latency():
    assert sign({**failed("Duplicate entry"), "appliedLatency": 9999.0})["sign"] == "error"


# --- alarming


def test_alarming():
    signs = {name: {"sign": name} for name in
             ("well", "error", "vanished", "offline", "late", "stalled", "unloaded")}
    assert set(driftsigns.alarming(signs)) == {"error", "vanished", "unloaded", "late", "stalled"}
    assert driftsigns.alarming({}) == {}


@pytest.mark.parametrize("quote", ["'", '"'])
def test_a_literal_that_was_cut_inside_of_an_escape_is_not_told(quote):
    what = sign(failed(f"Failing statement: INSERT INTO t VALUES ({quote}Mrs. Miller\\"))["what"]
    assert "Miller" not in what and what.endswith("VALUES (?")


def test_a_statement_in_quotes_does_not_tell_its_literals():
    what = sign(failed("Error on query. Default database: 'shop'. Query: 'INSERT INTO t VALUES ('Miller')'"))["what"]
    assert what.endswith("Error on query. Default database: 'shop'.")


def test_a_literal_of_nothing_but_escapes_is_gone_through_once():
    began = time.monotonic()
    sign(failed("Failing statement: " + "\\'" * 100_000 + "\\"))
    assert time.monotonic() - began < 3


def test_of_a_message_of_megabytes_only_the_beginning_is_read():
    began = time.monotonic()
    found = sign(failed("Duplicate entry '1' for key 'PRIMARY' " + "table " * 1_000_000))
    assert found["data"] and time.monotonic() - began < 5


@given(st.text(max_size=300), st.text(max_size=300) | st.none())
def test_any_message_is_judged(error, message):
    found = sign(failed(error, message))
    assert found["sign"] == "error" and isinstance(found["data"], bool) and "\n" not in found["what"]


def test_what_is_given_is_not_changed():
    services, before = {"west": dict(WELL)}, {"west": {"applied": 10, "stored": 10}}
    kept = copy.deepcopy((services, before))
    driftsigns.judge(services, ["west"], before)
    assert (services, before) == kept
