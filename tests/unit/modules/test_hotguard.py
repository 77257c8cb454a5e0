import os
import pwd
import re
from unittest.mock import create_autospec

import pytest
import salt.utils.path
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.support import datahost
from tests.support.datahost import hostrecord
from tests.support.loader import load

hotguard = load("_modules", "hotguard")
mysqld = load("_modules", "mysqld")

METHOD = "mariabackup"
MARIADB = {"mariadb-backup": "mariadb-backup based on MariaDB server 10.11.19-MariaDB debian-linux-gnu (x86_64)",
           "mbstream": "",
           "mariadbd": "/usr/sbin/mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)"}
MYSQL = {"xtrabackup": "xtrabackup version 8.0.35-31 based on MySQL server 8.0.35 Linux (x86_64)",
         "xbstream": "",
         "mysqld": "/usr/sbin/mysqld  Ver 8.0.39-30 for Linux on x86_64 (Percona Server (GPL), Release 30)"}


@pytest.fixture
def facts(tmp_path, monkeypatch):
    monkeypatch.setattr(hostrecord, "STATE_DIR", str(tmp_path / "remembered"))
    facts = datahost.new_facts(tmp_path)
    facts.update(programs=MARIADB, sudo=0, asked=[], ping=True, engines=[], keys=[], component=[])
    facts["variables"]["version"] = "10.11.19-MariaDB-0+deb12u1-log"
    # Elsewhere as well: which of the two is in the PATH is not the point.
    monkeypatch.setattr(salt.utils.path, "which", lambda name: name if name in facts["programs"] else None)
    user = pwd.struct_passwd(("mysql", "x", 4711, 0, "", "/nonexistent", "/bin/false"))
    monkeypatch.setattr(pwd, "getpwuid", lambda number: user)
    if os.geteuid() == 0:
        os.chown(tmp_path / "data", 4711, 4711)
    return facts


@pytest.fixture
def functions(facts):
    def programs(argv, **kwargs):
        assert argv[:2] == ["timeout", "--kill-after=5"] and kwargs["python_shell"] is False and kwargs["stdin"] == ""
        facts["asked"].append(argv[3:])
        if argv[-1] == "--version":
            # mariadb-backup tells its version on the error stream
            return {"retcode": 0, "stdout": "", "stderr": facts["programs"][argv[3]]}
        assert argv[3] == "runuser"
        return {"retcode": facts["sudo"], "stdout": "", "stderr": ""}

    def query(sql, timeout=60):
        if "information_schema.PLUGINS" in sql:
            return facts["keys"]
        if "TABLE_NAME = 'keyring_component_status'" in sql:
            return [{"name": "keyring_component_status"}] if facts["component"] is not None else []
        if "keyring_component_status" in sql:
            assert facts["component"] is not None, "it would be an error"
            return facts["component"]
        facts["tables"] = sql
        return facts["engines"]

    functions = datahost.new_functions(facts)
    functions["cmd.run_all"] = create_autospec(datahost.run_all, side_effect=programs)
    functions["mysqld.query"] = create_autospec(mysqld.query, side_effect=query)
    return functions


@pytest.fixture
def configure_loader_modules(functions):
    return {**datahost.loader_modules(functions), hotguard: {"__salt__": functions}}


def as_mysql(facts, **programs):
    facts["programs"] = {**MYSQL, **programs}
    facts["variables"]["version"] = "8.0.39-30"


# --- the programs


def test_the_tool_of_the_servers_own_series(facts):
    assert hotguard.tool(METHOD) == {"path": "mariadb-backup", "series": "10.11"}
    as_mysql(facts)
    assert hotguard.tool("xtrabackup") == {"path": "xtrabackup", "series": "8.0"}


def test_what_an_older_release_is_called(facts):
    facts["programs"] = {**MARIADB, "mariabackup": MARIADB["mariadb-backup"]}
    del facts["programs"]["mariadb-backup"]
    assert hotguard.tool(METHOD)["path"] == "mariabackup"


def test_a_server_that_is_down_is_known_by_its_program(facts):
    facts["ping"] = False
    facts["variables"]["version"] = None
    assert hotguard.tool(METHOD)["series"] == "10.11"
    as_mysql(facts)
    assert hotguard.tool("xtrabackup")["series"] == "8.0"


@pytest.mark.parametrize("method, version, programs, words", [
    (METHOD, "10.11.19-MariaDB", {"mbstream": ""}, "there is no mariadb-backup or mariabackup"),
    (METHOD, "10.11.19-MariaDB", {"mariadb-backup": MARIADB["mariadb-backup"]}, "there is no mbstream"),
    (METHOD, "11.4.2-MariaDB", MARIADB, "is for MariaDB 10.11, the server here is 11.4.2-MariaDB"),
    (METHOD, "8.0.39", MARIADB, "mariabackup is for MariaDB, the server here is MySQL 8.0.39"),
    ("xtrabackup", "10.11.19-MariaDB", MYSQL, "xtrabackup is for MySQL, the server here is MariaDB"),
    ("xtrabackup", "8.4.0", MYSQL, "is for MySQL 8.0, the server here is 8.4.0"),
    ("xtrabackup", "5.7.44", MYSQL, "is for MySQL 8.0, the server here is 5.7.44"),
    (METHOD, "10.11.19-MariaDB", {**MARIADB, "mariadb-backup": "Illegal instruction"}, "not tell its version: Ill"),
])
def test_a_tool_that_is_not_for_this_server(facts, method, version, programs, words):
    facts["programs"] = programs
    facts["variables"]["version"] = version
    with pytest.raises(CommandExecutionError, match=words):
        hotguard.tool(method)
    assert any(re.search(words, fault) for fault in hotguard.faults(method))


@pytest.mark.parametrize("method", ["rsync", "", None, "mariadb-backup; id"])
def test_another_method(method):
    for function in (hotguard.tool, hotguard.faults, hotguard.data_faults):
        with pytest.raises(SaltInvocationError, match="method must be one of"):
            function(method)
    with pytest.raises(SaltInvocationError):
        hotguard.unpack(method, "/var/lib/mysql", "mysql")


# --- what speaks against it


def test_nothing_speaks_against_a_common_server(facts):
    assert hotguard.faults(METHOD) == []
    as_mysql(facts)
    assert hotguard.faults("xtrabackup") == []


def test_what_sudo_has_to_allow_is_asked_word_for_word(facts, tmp_path):
    hotguard.faults(METHOD)
    unpack = ["-u", "mysql", "mbstream", "-x", "-p", "4", "-C"]
    assert facts["asked"][-1] == ["runuser", "-u", "tungsten", "--", "sudo", "-n", "-l", *unpack, f"{tmp_path}/data"]
    assert hotguard.unpack(METHOD, "/x", "mysql") == ["sudo", "-n", *unpack, "/x"]
    assert hotguard.unpack("xtrabackup", "/x", "mysql")[4] == "xbstream"
    facts["sudo"] = 1
    assert hotguard.faults(METHOD) == [
        f"tungsten may not run by sudo: -u mysql mbstream -x -p 4 -C {tmp_path}/data"]


@pytest.mark.parametrize("name, uid, mode, words", [
    ("root", 0, 0o755, "belongs to root, mode 0755"), (None, 4711, 0o700, "belongs to 4711, mode 0700"),
    ("mysql", 4711, 0o555, "belongs to mysql, mode 0555"), ("-x", 4711, 0o700, "belongs to -x"),
])
def test_the_data_directory_has_to_be_a_users_who_may_write_there(facts, monkeypatch, name, uid, mode, words):
    def getpwuid(number):
        if name is None:
            raise KeyError(number)
        return pwd.struct_passwd((name, "x", number, 0, "", "/", "/bin/false"))

    monkeypatch.setattr(pwd, "getpwuid", getpwuid)
    monkeypatch.setattr(os, "stat", lambda path: os.stat_result((0o040000 | mode, 0, 0, 0, uid, 0, 0, 0, 0, 0)))
    found = hotguard.target_faults(METHOD, {"datadir": {"path": "/data", "files": []}})
    assert len(found) == 1 and words in found[0] and facts["asked"] == []


def test_data_beside_the_data_directory_are_named(facts, tmp_path):
    for name in ("undo", "logs"):
        (tmp_path / name).mkdir()
    facts["variables"].update(innodb_undo_directory=str(tmp_path / "undo"), log_bin_basename=f"{tmp_path}/logs/bin")
    assert hotguard.faults(METHOD) == [
        f"innodb_undo_directory ({tmp_path}/undo) is not in the data directory: a hot copy would put it there"]


def test_tables_that_the_tool_does_not_take(facts):
    facts["engines"] = [{"engine": "ROCKSDB", "number": "3", "example": "shop.logs"}]
    assert hotguard.faults(METHOD) == ["tables of the engine ROCKSDB (3, such as shop.logs) are not for mariabackup"]
    assert "'innodb', 'myisam', " in facts["tables"] and "'aria'" in facts["tables"]
    as_mysql(facts)
    hotguard.faults("xtrabackup")
    assert "'innodb'" in facts["tables"] and "'aria'" not in facts["tables"]


@pytest.mark.parametrize("keys, component, named", [
    ([{"name": "file_key_management"}], None, "file_key_management"), ([], [{"name": "Active"}], "Active")])
def test_encryption(facts, keys, component, named):
    facts.update(keys=keys, component=component)
    assert hotguard.faults(METHOD) == [f"the server can encrypt its tables ({named}): copy it cold"]


def test_a_server_without_the_table_of_components_is_not_asked_for_it(facts):
    facts["component"] = None
    assert hotguard.faults(METHOD) == []


def test_of_a_server_that_is_down_only_the_rest_is_told(facts):
    facts.update(ping=False, engines=[{"engine": "ROCKSDB", "number": "3", "example": "shop.logs"}], sudo=1)
    assert len(hotguard.faults(METHOD)) == 1
