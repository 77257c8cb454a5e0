import json
import os
import socket
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.support.loader import load

datacontent = load("_modules", "datacontent")

FILE = "a file that no server has written"
SERVER = "the data directory of another server"

KEYS = "ca-key.pem ca.pem client-cert.pem client-key.pem private_key.pem public_key.pem server-cert.pem server-key.pem"

MYSQL_80 = f"""
    {KEYS} auto.cnf mysqld-auto.cnf binlog.000001 binlog.000002 binlog.index binlog.~rec~ ib_buffer_pool ibdata1 ibtmp1
    mysql.ibd mysql.sock mysql.sock.lock mysqlx.sock mysqlx.sock.lock undo_001 undo_002 extra.ibu ts1.ibd
    #ib_16384_0.dblwr #ib_16384_1.dblwr db1-relay-bin.000003 db1-relay-bin.index db1-relay-bin-east.000001 db1.pid
    db1.err db1-slow.log mysql_upgrade_history mysql_upgrade_info keyring keyring_file_data component_keyring_file.cnf
    xtrabackup_info xtrabackup_checkpoints xtrabackup_binlog_pos_innodb backup-my.cnf core core.1234 binlog.1000000
    .reprovision .reprovision.new binlog.index_crash_safe lost+found/#1234 lost+found/dir/anything.txt
    #innodb_redo/#ib_redo10 #innodb_redo/#ib_redo11_tmp #innodb_temp/temp_1.ibt
    mysql/general_log.CSM mysql/general_log.CSV mysql/general_log_213.sdi mysql/slow_log.CSM mysql/slow_log_214.sdi
    performance_schema/accounts_145.sdi sys/sys_config.ibd mysql_innodb_cluster_metadata/clusters.ibd
    shop/orders.ibd shop/orders#p#p0.ibd shop/fts_0000000000000430_being_deleted.ibd shop/mysql.ibd empty/
    my@002dshop/t.MYD my@002dshop/t.MYI my@002dshop/t_300.sdi tungsten_east/trep_commit_seqno.ibd
"""
MYSQL_57 = f"""
    {KEYS} auto.cnf ib_buffer_pool ib_logfile0 ib_logfile1 ibdata1 ibdata2 ibtmp1 undo001 undo1_trunc.log
    mysql-bin.000001 mysql-bin.index master.info relay-log.info db1-relay-bin.000001 db1-relay-bin.index
    mysqld_safe.pid error.log query.log ib_1_2_trunc.log debian-5.7.flag innodb_status.4711
    mysql/user.frm mysql/user.MYD mysql/user.MYI mysql/db.opt mysql/innodb_index_stats.ibd mysql/slow_log.CSM
    performance_schema/accounts.frm performance_schema/db.opt sys/sys_config.TRG sys/sys_config_insert_set_user.TRN
    shop/t.frm shop/t.ibd shop/t#P#p0.ibd shop/t.par shop/t.isl shop/m.MRG shop/a.ARZ shop/a.ARM shop/t.cfg
    shop/t.cfp shop/t.TMD
"""
MARIADB = """
    aria_log.00000001 aria_log_control ddl_recovery.log ddl_recovery-backup.log ddl-fts-recovery.log debian-10.11.flag
    ib_buffer_pool ib_logfile0 ib_logfile101 ibdata1 ibtmp1 multi-master.info mariadb_upgrade_info mysql_upgrade_info
    tc.log undo001 undo002 undo003 mariadb-bin.000001 mariadb-bin.000001.idx mariadb-bin.index mariadb-bin.state
    mysqld-relay-bin-west.000001 mysqld-relay-bin-west.index master-west.info relay-log-west.info mariadb_backup_info
    mariadb_backup_checkpoints xtrabackup_binlog_info db1.pid db1.err mysql.sock #rocksdb/000012.sst #rocksdb/CURRENT
    .rocksdb/000012.sst grastate.dat gvwstate.dat galera.cache donor_galera_info
    mysql/global_priv.frm mysql/global_priv.MAD mysql/global_priv.MAI mysql/user.frm mysql/db.opt
    mysql/gtid_slave_pos.ibd mysql/general_log.CSV mysql/global_priv.MAD-260131120000.BAK performance_schema/db.opt
    sys/db.opt sys/sys_config.MAD shop/db.opt shop/t.frm shop/t.ibd shop/t.TRG shop/tr.TRN shop/t.ibz
"""


def plant(home, *names):
    """Empty files of these names (bytes or text), with the directories they lie in; a name ending in / is one."""
    for name in names:
        path = os.path.join(os.fsencode(home), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if not path.endswith(b"/"):
            with open(path, "wb"):
                pass


def foreign(home, **kwargs):
    found = datacontent.foreign(str(home), **kwargs)
    json.dumps(found, ensure_ascii=False).encode()
    return {item["entry"]: item["why"] for item in found}


def other(example):
    return f"a directory with other things in it than tables ({example})"


# --- a server's own


@pytest.mark.parametrize("names", [MYSQL_80, MYSQL_57, MARIADB])
def test_what_a_server_has_written_is_not_foreign(tmp_path, names):
    plant(tmp_path, *names.split())
    assert foreign(tmp_path) == {}


def test_an_empty_directory_holds_nothing_foreign(tmp_path):
    assert datacontent.foreign(str(tmp_path)) == []


def test_a_socket_may_have_any_name(tmp_path, monkeypatch):
    # the name of a socket is limited to 108 bytes, which tmp_path may exceed
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("db.socket")
        assert foreign(tmp_path) == {}


def test_data_files_of_the_settings_are_the_servers(tmp_path):
    plant(tmp_path, "space.one", "space.two", "ibdata1")
    assert foreign(tmp_path, data_files=["ibdata1", "space.one"]) == {"space.two": FILE}


# --- foreign things


@pytest.mark.parametrize(
    "name",
    ["dump.sql", "notes", "backup.tar.gz", ".my.cnf", ".bash_history", ".hidden.log", ".mysql.sock", "my.cnf", "README",
     "core.sql", "keyring.sql", "undo.sql", "ibdata1.bak", "xtrabackup_info.txt", "aria_log.tar", "binlog.00001",
     "binlog.000001.gz", "error.log.1", "auto.cnf.old", "table.frm"],
)  # fmt: skip
def test_a_file_that_no_server_has_written(tmp_path, name):
    plant(tmp_path, *MYSQL_80.split(), name)
    assert foreign(tmp_path) == {name: FILE}


def test_a_pipe_is_no_log(tmp_path):
    os.mkfifo(tmp_path / "error.log")
    assert foreign(tmp_path) == {"error.log": FILE}


@pytest.mark.parametrize(
    "names, expected",
    [
        (["shop/t.ibd", "shop/dump.sql"], {"shop": other("dump.sql")}),
        (["shop/z.txt", "shop/a.txt"], {"shop": other("a.txt")}),
        (["shop/t.ibd", "shop/old/"], {"shop": other("old")}),
        (["home/user/.ssh/id"], {"home": other("user")}),
        (["shop/.t.ibd.Xa81Qz"], {"shop": other(".t.ibd.Xa81Qz")}),
        (["shop/._t.ibd"], {"shop": other("._t.ibd")}),
        (["mysql_innodb_cluster_metadata/x.sh"], {"mysql_innodb_cluster_metadata": other("x.sh")}),
        ([".ssh/authorized_keys"], {".ssh": other("authorized_keys")}),
        ([".cache/"], {".cache": FILE}),
        ([".shop/t.ibd"], {".shop": FILE}),
        ([".reprovision/"], {".reprovision": FILE}),
    ],
)
def test_a_directory_with_other_things_than_tables(tmp_path, names, expected):
    plant(tmp_path, *MARIADB.split(), *names)
    assert foreign(tmp_path) == expected


def test_a_pipe_is_no_table(tmp_path):
    (tmp_path / "shop").mkdir()
    os.mkfifo(tmp_path / "shop" / "t.ibd")
    assert foreign(tmp_path) == {"shop": other("t.ibd")}


@pytest.mark.parametrize(
    "names, expected",
    [
        (["two/ibdata1"], {"two": SERVER}),
        (["two/mysql.ibd", "two/sys/sys_config.ibd"], {"two": SERVER}),
        (["two/mysql/user.frm", "two/mysql/user.MYD"], {"two": SERVER}),
        (["two/mysql/global_priv.MAD"], {"two": SERVER}),
        (["two/mysql/my.cnf"], {"two": other("mysql")}),
        (["two/3307/ibdata1"], {"two": other("3307"), "two/3307": SERVER}),
        (["a/b/c/d/ibdata1"], {"a": other("b"), "a/b/c/d": SERVER}),
        (["a/b/c/d/e/ibdata1"], {"a": other("b")}),
        (["#snapshot/daily.0/ibdata1"], {"#snapshot/daily.0": SERVER}),
        ([".old/ibdata1"], {".old": SERVER}),
    ],
)
def test_the_data_directory_of_another_server(tmp_path, names, expected):
    plant(tmp_path, *MYSQL_57.split(), *names)
    assert foreign(tmp_path) == expected


# --- links


def test_links_are_not_followed(tmp_path):
    outside, home = tmp_path / "outside", tmp_path / "data"
    plant(outside, "dump.sql", "ibdata1", "deeper/dump.sql")
    plant(home, "shop/t.ibd")
    (home / "linked").symlink_to(outside)
    (home / "ibdata1").symlink_to(outside / "ibdata1")
    (home / "shop" / "t.MYD").symlink_to(outside / "dump.sql")
    (home / "shop" / "gone.MYI").symlink_to("/nonexistent/gone.MYI")
    (home / "circle").symlink_to(home)
    assert foreign(home) == {}


def test_a_link_to_a_file_must_have_a_servers_name(tmp_path):
    home = tmp_path / "data"
    plant(tmp_path, "dump.sql", "data/shop/t.ibd", "data/crm/t.ibd")
    (home / "dump").symlink_to(tmp_path / "dump.sql")
    (home / "dangling").symlink_to("/nonexistent/x")
    (home / "self").symlink_to("self")
    (home / ".ssh").symlink_to(tmp_path)
    (home / "shop" / "dump").symlink_to(tmp_path / "dump.sql")
    (home / "crm" / "deeper").symlink_to(tmp_path)
    assert foreign(home) == {
        "dump": FILE, "dangling": FILE, "self": FILE, ".ssh": FILE, "shop": other("dump"), "crm": other("deeper"),
    }  # fmt: skip


# --- names


@pytest.mark.parametrize(
    "name, shown",
    [
        ("my dump.sql", "my dump.sql"),
        ("two\nlines.sql", "two\\nlines.sql"),
        ("two\nlines.log", "two\\nlines.log"),
        ("trailing.log\n", "trailing.log\\n"),
        ("\x1b[2J.txt", "\\x1b[2J.txt"),
        (b"caf\xe9.txt", "caf\\xe9.txt"),
        ("café.txt", "café.txt"),
        ("-rf", "-rf"),
    ],
)
def test_unusual_names_are_found_and_can_be_shown(tmp_path, name, shown):
    plant(tmp_path, name, b"shop/" + os.fsencode(name))
    assert foreign(tmp_path) == {shown: FILE, "shop": other(shown)}


def test_unusual_names_of_directories_can_be_shown(tmp_path):
    plant(tmp_path, b"old \xff\n/ibdata1", b"my \xfe\n/x")
    assert foreign(tmp_path) == {"old \\xff\\n": SERVER, "my \\xfe\\n": other("x")}


# --- the answer


def test_the_answer_is_sorted(tmp_path):
    plant(tmp_path, "z.sql", "a.sql", "m/notes.txt")
    assert datacontent.foreign(str(tmp_path)) == [
        {"entry": "a.sql", "why": FILE},
        {"entry": "m", "why": other("notes.txt")},
        {"entry": "z.sql", "why": FILE},
    ]


@pytest.mark.parametrize("number, last", [(20, {"entry": "19.sql", "why": FILE}),
                                          (21, {"entry": "...", "why": "and 2 more"}),
                                          (26, {"entry": "...", "why": "and 7 more"})])  # fmt: skip
def test_the_answer_is_short(tmp_path, number, last):
    plant(tmp_path, *(f"{count:02}.sql" for count in range(number)))
    found = datacontent.foreign(str(tmp_path))
    assert len(found) == 20 and found[18] == {"entry": "18.sql", "why": FILE} and found[19] == last


def test_a_directory_that_cannot_be_read(tmp_path):
    plant(tmp_path, "file")
    with pytest.raises(CommandExecutionError, match="gone cannot be read: No such file"):
        datacontent.foreign(str(tmp_path / "gone"))
    with pytest.raises(CommandExecutionError, match="file cannot be read: Not a directory"):
        datacontent.foreign(str(tmp_path / "file"))


def test_a_directory_inside_that_cannot_be_read(tmp_path, monkeypatch):
    plant(tmp_path, "shop/t.ibd")
    scandir = os.scandir

    def refused(path):
        if path == str(tmp_path / "shop"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(datacontent.os, "scandir", refused)
    with pytest.raises(CommandExecutionError, match="shop cannot be read: Permission denied"):
        datacontent.foreign(str(tmp_path))


@pytest.mark.parametrize("path", [None, "", "data", "./data", 3])
def test_a_path_must_be_absolute(path):
    with pytest.raises(SaltInvocationError, match="absolute"):
        datacontent.foreign(path)


def test_data_files_must_be_a_list(tmp_path):
    with pytest.raises(SaltInvocationError, match="data_files"):
        datacontent.foreign(str(tmp_path), data_files="ibdata1")


# --- any tree

WORD = st.text(alphabet="abcxyzABC0189_@-", min_size=1, max_size=12)
DIGITS = st.integers(0, 10**9).map("{:06}".format)
EXTENSIONS = "ibd frm MYD MYI MAD MAI opt par isl TRG TRN sdi CSV CSM ARZ ARM MRG cfg cfp ibz TMD".split()
FIXED = sorted({name for tree in (MYSQL_80, MYSQL_57, MARIADB) for name in tree.split() if "/" not in name})
SERVER_FILES = st.one_of(
    st.sampled_from(FIXED),
    st.builds("{}.{}".format, WORD, st.sampled_from("pem pid err log ibu ibd dblwr index state info sock".split())),
    st.builds("{}-bin.{}".format, WORD, DIGITS),
    st.builds("{}-relay-bin-{}.{}".format, WORD, WORD, DIGITS),
)
# a prefix keeps the names of directories apart from those of files
SCHEMAS = WORD.map("schema_{}".format)
TABLES = st.builds("{}.{}".format, WORD, st.sampled_from(EXTENSIONS))
TREES = st.tuples(
    st.sets(SERVER_FILES, max_size=8), st.dictionaries(SCHEMAS, st.sets(TABLES, max_size=4), max_size=4)
)


def plant_tree(home, tree):
    files, schemas = tree
    plant(home, *files, *(f"{schema}/" for schema in schemas))
    for schema, tables in schemas.items():
        plant(home, *(f"{schema}/{table}" for table in tables))


@settings(max_examples=150, deadline=None)
@given(TREES)
def test_a_tree_of_servers_names_is_never_reported(tree):
    with tempfile.TemporaryDirectory() as home:
        plant_tree(home, tree)
        assert foreign(home) == {}


@settings(max_examples=300, deadline=None)
@given(TREES, st.data())
def test_one_file_of_another_kind_is_always_reported(tree, data):
    stem = data.draw(st.one_of(WORD, SERVER_FILES, st.text(alphabet="a b\n.é#", min_size=1, max_size=9)), "stem")
    folder = data.draw(st.sampled_from(["", *sorted(tree[1])]), "folder")
    name = stem + data.draw(st.sampled_from([".sql", ".tar", ".txt"]), "extension")
    with tempfile.TemporaryDirectory() as home:
        plant_tree(home, tree)
        plant(home, os.path.join(folder, name))
        before = sorted(str(path) for path in Path(home).rglob("*"))
        shown = name.replace("\n", "\\n")
        assert foreign(home) == ({folder: other(shown)} if folder else {shown: FILE})
        assert sorted(str(path) for path in Path(home).rglob("*")) == before, "reads only"
