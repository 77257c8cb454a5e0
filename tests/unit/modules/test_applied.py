"""applied: what became of an SLS on every node, read from the little that salt.state tells."""

import copy

import pytest

from tests.support.loader import load

applied = load("_modules", "applied")


def state(number, result=True, changes=None, comment="done", **more):
    return {"__id__": f"id {number}", "name": f"name {number}", "__run_num__": number, "result": result,
            "changes": changes, "comment": comment, **more}


def returned(ret=None, result=True, comment="States ran successfully."):
    changes = {"out": "highstate", "ret": ret} if ret else {}
    return {"name": "x", "result": result, "comment": comment, "changes": changes}


def answer(**more):
    """Nothing to tell, but for what is given."""
    return {"result": True, "comments": [], "changes": {}, "jobs": {}, "silent": [], "failed": [], **more}


def test_it_may_run_anywhere():
    assert applied.__virtual__() == "applied"


class TestAnswered:
    def test_each_state_is_told_in_the_order_in_which_it_ran(self):
        ret = {"m1": {"c": state(10, comment="third"), "a": state(1, comment="second"),
                      "b": {"result": True, "changes": {}, "comment": "without a number"}}}
        assert applied.read(["m1"], returned(ret)) == answer(
            comments=["m1: without a number", "m1: second", "m1: third"])

    def test_the_nodes_are_told_in_the_order_in_which_they_were_asked(self):
        ret = {"m1": {"a": state(0)}, "m2": {"a": state(0)}}
        assert applied.read(["m2", "m1"], returned(ret))["comments"] == ["m2: done", "m1: done"]

    def test_whoever_was_not_asked_is_not_told_of(self):
        ret = {"m1": {"a": state(0)}, "m2": {"a": state(0, False, {"a": 1})}}
        assert applied.read(["m1"], returned(ret)) == answer(comments=["m1: done"])

    @pytest.mark.parametrize("comment, told", [
        ("done", "m1: done"), ("m1: done", "m1: done"), ("m1: m1: x", "m1: m1: x"), ("m2: done", "m1: m2: done"),
        ("by m1: done", "m1: by m1: done")])
    def test_a_comment_names_its_node_once(self, comment, told):
        assert applied.read(["m1"], returned({"m1": {"a": state(0, comment=comment)}}))["comments"] == [told]

    @pytest.mark.parametrize("changes", [None, {}])
    def test_without_changes_none_are_told(self, changes):
        assert applied.read(["m1"], returned({"m1": {"a": state(0, changes=changes)}}))["changes"] == {}

    def test_changes_by_node_and_state(self):
        nameless = state(2, changes={"new": 3})
        del nameless["__id__"]
        ret = {"m1": {"a": state(0, changes={"new": 1}), "b": state(1), "c": nameless},
               "m2": {"a": state(0, changes={"new": 2})}}
        assert applied.read(["m1", "m2"], returned(ret))["changes"] == {
            "m1": {"id 0": {"new": 1}, "name 2": {"new": 3}}, "m2": {"id 0": {"new": 2}}}

    def test_what_salt_returned_stays_as_it_is(self):
        given = returned({"m1": {"a": state(0, False, {"still running": "copy-0-r", "new": 1})}}, False)
        before = copy.deepcopy(given)
        applied.read(["m1"], given)
        assert given == before

    @pytest.mark.parametrize("result", [True, None, False])
    def test_where_nothing_speaks_against_it_the_result_is_salts(self, result):
        assert applied.read(["m1"], returned({"m1": {"a": state(0, result)}}, result))["result"] is result
        assert applied.read(["m1"], returned({"m1": {"a": state(0)}}, result)) == answer(
            result=result, comments=["m1: done"])


class TestUnchanged:
    @pytest.mark.parametrize("comment", [
        "States ran successfully. No changes made to m1, m2.", "States ran successfully. No changes made to m1, m2",
        "States ran successfully. Updating m3. No changes made to m1, m2."])
    def test_they_are_named_at_the_end_of_the_comment(self, comment):
        assert applied.read(["m1", "m2"], returned(comment=comment)) == answer(
            comments=["m1: nothing to change", "m2: nothing to change"])

    def test_a_name_that_only_begins_alike_is_another_one(self):
        found = applied.read(["m1", "m11"], returned(comment="States ran successfully. No changes made to m11."))
        assert found["comments"][1] == "m11: nothing to change" and found["silent"] == ["m1"]

    def test_to_be_named_as_updated_is_not_to_be_unchanged(self):
        assert applied.read(["m1"], returned(comment="States ran successfully. Updating m1."))["silent"] == ["m1"]

    def test_what_a_node_returned_counts_more_than_being_named(self):
        comment = "States ran successfully. No changes made to m1."
        found = applied.read(["m1"], returned({"m1": {"a": state(0, False)}}, comment=comment))
        assert (found["comments"], found["failed"]) == (["m1: done"], ["m1"])

    def test_beside_a_failure_who_is_left_out_is_told_nothing_of(self):
        ret = {"m2": {"a": state(0, False, comment="no")}}
        assert applied.read(["m1", "m2"], returned(ret, False, "Run failed on minions: m2")) == answer(
            result=False, comments=["m2: no"], failed=["m2"])


class TestSilent:
    GONE = "gave no answer (salt m1 test.ping)"

    @pytest.mark.parametrize("said, told", [
        (False, GONE), (None, GONE), ([], GONE), ("", GONE), (True, "True"),
        (["Pillar failed to render"], "['Pillar failed to render']"),
        ("Minion did not return", "Minion did not return")])
    def test_what_is_no_state_is_no_answer(self, said, told):
        assert applied.read(["m1", "m2"], returned({"m1": said, "m2": {"a": state(0)}}, False)) == answer(
            result=False, comments=[f"m1: {told}", "m2: done"], silent=["m1"])

    @pytest.mark.parametrize("result", [True, None])
    def test_beside_successes_who_is_left_out_is_silent(self, result):
        assert applied.read(["m1", "m2"], returned({"m2": {"a": state(0)}}, result)) == answer(
            result=False, comments=[f"m1: {self.GONE}", "m2: done"], silent=["m1"])

    @pytest.mark.parametrize("result", [True, False])
    def test_where_nobody_returned_all_are_silent(self, result):
        found = applied.read(["m2", "m1"], returned(result=result, comment="No minions returned"))
        assert (found["result"], found["silent"], found["failed"]) == (False, ["m1", "m2"], [])

    def test_a_node_that_returned_no_states_at_all_is_not_silent(self):
        assert applied.read(["m1"], returned({"m1": {}})) == answer()


class TestFailed:
    def test_one_state_of_several(self):
        ret = {"m1": {"a": state(0), "b": state(1, False, comment="no"), "c": state(2, None)}, "m2": {"a": state(0)}}
        assert applied.read(["m1", "m2"], returned(ret, False)) == answer(
            result=False, comments=["m1: done", "m1: no", "m1: done", "m2: done"], failed=["m1"])

    @pytest.mark.parametrize("result", [True, None])
    def test_it_is_a_failure_whatever_salt_makes_of_it(self, result):
        assert applied.read(["m1"], returned({"m1": {"a": state(0, False)}}, result))["result"] is False

    def test_what_was_changed_before_it_is_told(self):
        found = applied.read(["m1"], returned({"m1": {"a": state(0, False, {"new": 1})}}, False))
        assert found["changes"] == {"m1": {"id 0": {"new": 1}}}

    @pytest.mark.parametrize("minions, ret", [([], None), (["m1"], {"m9": {"a": state(0)}})])
    def test_without_a_word_about_any_node_salts_own_are_told(self, minions, ret):
        assert applied.read(minions, returned(ret, False, "No minions matched")) == answer(
            result=False, comments=["No minions matched"], failed=["salt"])

    def test_nobody_was_asked_and_nothing_has_failed(self):
        assert applied.read([], returned()) == answer()

    @pytest.mark.parametrize("missing", ["comment", "result"])
    def test_what_looks_like_no_state_is_an_error(self, missing):
        broken = state(0)
        del broken[missing]
        with pytest.raises(KeyError, match=missing):
            applied.read(["m1"], returned({"m1": {"a": broken}}))


class TestStillAtWork:
    @pytest.mark.parametrize("result", [False, True, None])
    def test_a_job_that_runs_is_neither_success_nor_failure(self, result):
        ret = {"m1": {"a": state(0, result, {"still running": "copy-0-r"}, "goes on")}}
        assert applied.read(["m1"], returned(ret, result)) == answer(
            result=False, comments=["m1: goes on"], jobs={"m1": "copy-0-r"})

    def test_what_else_was_changed_is_told(self):
        ret = {"m1": {"a": state(0, False, {"still running": "copy-0-r", "new": 1})}}
        assert applied.read(["m1"], returned(ret, False))["changes"] == {"m1": {"id 0": {"new": 1}}}

    def test_no_name_is_no_job(self):
        found = applied.read(["m1"], returned({"m1": {"a": state(0, False, {"still running": None})}}, False))
        assert (found["jobs"], found["failed"], found["changes"]) == ({}, ["m1"], {})

    def test_each_node_for_itself_beside_the_failed_and_the_silent(self):
        ret = {"m3": {"a": state(0, False, {"still running": "copy-0-r"})}, "m2": {"a": state(0, False)}, "m1": False,
               "m4": {"a": state(0, False, {"still running": "copy-1-r"})}}
        found = applied.read(["m1", "m2", "m3", "m4"], returned(ret, False))
        assert found["jobs"] == {"m3": "copy-0-r", "m4": "copy-1-r"}
        assert (found["failed"], found["silent"]) == (["m2"], ["m1"])

    def test_beside_its_job_another_state_of_the_node_fails(self):
        ret = {"m1": {"a": state(0, False, {"still running": "copy-0-r"}), "b": state(1, False)}}
        found = applied.read(["m1"], returned(ret, False))
        assert (found["jobs"], found["failed"]) == ({"m1": "copy-0-r"}, ["m1"])
