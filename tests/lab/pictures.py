"""Take the pictures of docs/pictures from a real run in the lab: what the operator sees of it."""

import argparse
import contextlib
import json
import os
import pty
import re
import secrets
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from labkit import data, hosts, plan, salt  # noqa: E402
from labkit.plan import MASTER  # noqa: E402
from labkit.shell import LabError, run, say  # noqa: E402

FAILED = plan.SITE_NAMES[0]
FOLDER = Path(__file__).resolve().parents[2] / "docs/pictures"
MEGABYTES = 160
# Between the sites there is a wide area, and the copy has to be seen.
LINK = "150mbit"
WIDE, NARROW = 1100, 420


def do(lab, host, *argv):
    """What a command printed; a picture of what went wrong unnoticed would tell a lie."""
    done = hosts.execute(lab, host, argv, capture=True, timeout=600)
    if done.returncode:
        raise LabError(f"{' '.join(argv)} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def terminal(lab, name, *argv):
    """A picture of what a command prints on a terminal."""
    paint(name, do(lab, MASTER, *argv, "--force-color", "--log-level=quiet"))


def watched(lab):
    """A run as who watches it on a terminal sees it, half-way through its copy."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 110))
    donor = lab.site_nodes()[plan.SITE_NAMES[1]][-1]
    do(lab, donor, "tc", "qdisc", "add", "dev", "host0", "root", "tbf", "rate", LINK, "burst", "128kb", "latency",
       "50ms")
    # Compressed the copy would be over before it is seen.
    words = 'pillar={"reprovision": {"compress": "none"}}'
    order = subprocess.Popen(hosts.command(lab, MASTER, ["salt-run", "state.orch", "orch.reprovision", words]),
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    watcher = subprocess.Popen(
        hosts.command(lab, MASTER, ["salt-run", "reprovision.watch", FAILED, "--log-level=quiet"]),
        stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen = b""
    # At the other end's close the terminal answers with an error.
    with contextlib.suppress(OSError):
        while part := os.read(ours, 65536):
            seen += part
    os.close(ours)
    if order.wait(timeout=600) or watcher.wait(timeout=60):
        raise LabError(f"the run or its watcher failed: {seen[-2000:]}")
    pictures = re.split(r"\x1b\[\d+A\x1b\[J", seen.decode().replace("\r", ""))
    copying = [picture for picture in pictures if " %, " in picture]
    if not copying:
        raise LabError("the copy was over before it was seen")
    paint("watch", copying[len(copying) // 2])


def dashboard(lab, python):
    """Over a salt-api of the lab's master, for somebody who may do all that it can: a site drifted, a plan waits."""
    root, password = lab.root(MASTER), secrets.token_hex()
    (root / "root/people").write_text(f"adam:{password}\n")
    (root / "etc/salt/master.d/salt-api.conf").write_text(json.dumps({
        "rest_cherrypy": {"port": 8000, "disable_ssl": True, "static": "/srv/reprovision/dashboard",
                          "static_path": "/dashboard"},
        "netapi_enable_clients": ["runner"],
        "external_auth": {"file": {"^filename": "/root/people", "adam": [{"@runner": ["reprovision.*", "drift.*"]}]}},
    }))
    do(lab, MASTER, "systemctl", "restart", "salt-master")
    do(lab, MASTER, "systemd-run", "--unit=salt-api", "/opt/salt/bin/salt-api")
    salt.ready(lab)
    # 2 is its word for: they have drifted.
    if hosts.execute(lab, MASTER, ["salt-run", "drift.check"], capture=True, timeout=600).returncode != 2:
        raise LabError("the drift check did not find that the site has drifted")
    do(lab, MASTER, "salt-run", "reprovision.plan", FAILED)
    # Only there the address is that of the lab's master.
    run(["nsenter", f"--net=/run/netns/{lab.namespace}", python, Path(__file__).with_name("photograph.py"),
         f"http://{lab.address(MASTER)}:8000/dashboard/index.html", "adam", password, FOLDER], timeout=300)


def paint(name, said):
    say(said)
    with tempfile.NamedTemporaryFile("w") as shown:
        shown.write(said)
        shown.flush()
        html = run(["aha", "--black", "--title", name, "-f", shown.name]).stdout
    shoot(name, html.replace("<pre>", "<pre style='font: 14px monospace; padding: 1rem'>"), WIDE,
          60 + 17 * (said.count("\n") + 2))


def shoot(name, html, width, height):
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        page.write_text(html)
        run(["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             f"--user-data-dir={folder}/profile", f"--window-size={width},{height}",
             f"--screenshot={FOLDER / name}.png", page.as_uri()])
    say(f"{FOLDER / name}.png")


def take(lab, python):
    hosts.up(lab)
    salt.ready(lab)
    data.wait_online(lab)
    rows = data.fill(lab, MEGABYTES)
    data.start_load(lab, rows)
    data.make_drift(lab, FAILED, rows)
    host = lab.site_nodes()[FAILED][1]
    # What an on-call finds: a cross-site service that somebody has stopped, under a policy that nobody has set back.
    do(lab, host, "salt-call", "cctrl.set_policy", "MAINTENANCE")
    do(lab, host, "salt-call", "trepctl.offline", plan.SITE_NAMES[1], "cross_site")
    terminal(lab, "status-wrong", "salt-run", "reprovision.status")
    do(lab, host, "salt-call", "trepctl.online", plan.SITE_NAMES[1], "cross_site")
    dashboard(lab, python)
    watched(lab)
    terminal(lab, "status-well", "salt-run", "reprovision.status")
    terminal(lab, "report-text", "salt-run", "reprovision.report", FAILED)
    written = salt.call(lab, ["salt-run", "reprovision.report", FAILED, "page=True", "--out=json"])["page"]
    page = (lab.root(MASTER) / written.lstrip("/")).read_text()
    shoot("report", page, WIDE, 1500)
    shoot("report-telephone", page, NARROW, 900)


def main():
    parser = argparse.ArgumentParser(prog="tests/lab/pictures.py", description=__doc__,
                                     epilog="Needs root, and Debian's packages aha and chromium.")
    parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    environment = run([FOLDER.parents[1] / "tests/setup", "tests"], timeout=1200).stdout.strip()
    lab = plan.Lab(name="pictures", delays={})
    hosts.down(lab)
    try:
        take(lab, f"{environment}/bin/python")
    finally:
        hosts.down(lab)


if __name__ == "__main__":
    main()
