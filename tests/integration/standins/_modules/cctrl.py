"""Appended to the project's own cctrl module by the fixtures: a session that plays a small manager, in the vendor's
words and boxes. Everything but ``session`` is the real thing."""


def session(*commands, timeout=60):
    """Play ``commands``. CLI Example: none, a stand-in."""
    site = __salt__["topology.node"]()["site"]
    if __salt__["world.look"]()["faults"].get(f"{__grains__['id']} cctrl") == "garbage":
        return "\x00\xff{[ state ONLI"
    return "".join(_play(site, command) for command in commands)


def _play(site, command):
    def set_in(*path_and_value, did):
        return __salt__["world.set_in"](["sites", site, *path_and_value[:-1]], path_and_value[-1], did=did)

    words = command.split()
    if command == "ls":
        return _boxes(site, __salt__["world.look"]())
    if words[:2] == ["set", "policy"]:
        set_in("policy", words[2].upper(), did="cctrl.policy")
        return f"policy mode is now {words[2].upper()}\n"
    if words[0] == "router":
        set_in("routers", words[2].upper(), did="cctrl.routers")
    elif words[0] == "replicator":
        set_in("datasources", words[1], "replicator", words[2].upper(), did="cctrl.replicator")
    elif words[0] == "datasource":
        state = {"shun": "SHUNNED(MANUALLY-SHUNNED)", "recover": "OFFLINE", "welcome": "OFFLINE"}.get(
            words[2], words[2].upper())
        set_in("datasources", words[1], "state", state, did=f"cctrl.{words[2]}")
        return f"DataSource '{words[1]}' is now {state}\n"
    return "\n"


def _boxes(site, world):
    about = world["sites"][site]
    text = f"[LOGICAL:EXPERT] /{site} > \nCOORDINATOR[{site}1:{about['policy']}:ONLINE]\nROUTERS:\n"
    for host in about["datasources"]:
        text += f"|connector@{host}[88]({about['routers']}, created=0, active=0)  |\n"
    for host, source in about["datasources"].items():
        kind = "composite " if about.get("composite") else ""
        text += (
            f"|{host}({kind}{source['role']}:{source['state']}, progress=3, latency=0.5)  |\n"
            "|STATUS [OK] [2026/01/24 02:59:42 PM UTC]  |\n|  MANAGER(state=ONLINE)  |\n"
            f"|  REPLICATOR(role={source['role']}, state={source['replicator']})  |\n"
            f"|  DATASERVER(state={'ONLINE' if world['nodes'][host]['mysqld'] else 'STOPPED'})  |\n")
    return text
