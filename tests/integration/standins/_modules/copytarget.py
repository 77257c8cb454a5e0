"""Appended to the project's own copytarget module by the fixtures: the other host's server and record lie in the world.
What is asked of it and refused is the real thing; no program is run, no sample sent."""
# ruff: noqa: F821 - these names are the real module's


def __virtual__():
    return __virtualname__


def _run(argv, failing=True, seconds=SECONDS):
    said = {"retcode": 0, "stdout": "", "stderr": ""}
    host = next(word for word in argv[-2:] if "@" in word).partition("@")[2].partition(":")[0]
    about = __salt__["world.look"]()["nodes"][host]
    if argv[0] != "rsync":
        return {**said, "retcode": 0 if about["mysqld"] else 1, "stdout": "812"}
    if not about["record"]:
        raise CommandExecutionError("rsync failed with 23: No such file or directory")
    # Of the two files of this copy the world has only one: hostrecord's stand-in reads and writes it.
    return said


def _measured(host):
    return 1000


def _compressions(host):
    return ["none"]
