"""Make standard tools of a node fail on order: shims before them in the PATH of its services.

A fault is a file that the shim finds, obeys once and removes: ``{"words": "stop", "how": "fail" | "lie" | "hang"}``.
"""

import json

TOOLS = ("systemctl", "rsync", "mariadb-backup")
ORDER = "var/tmp/lab-fault-{tool}"
SHIM = """\
#!/usr/bin/python3
import json, os, sys, time
tool, order = "{tool}", "/{order}"
try:
    with open(order) as file:
        fault = json.load(file)
except OSError:
    fault = None
if fault and set(fault["words"].split()) <= set(sys.argv[1:]):
    os.unlink(order)
    if fault["how"] == "lie":
        sys.exit(0)
    if fault["how"] == "hang":
        time.sleep(3600)
    print(f"{{tool}}: failed on order", file=sys.stderr)
    sys.exit(1)
os.execv("/usr/bin/{tool}", [tool, *sys.argv[1:]])
"""


def install(lab):
    for host in lab.hosts()[1:]:
        for tool in TOOLS:
            path = lab.root(host) / "usr/local/bin" / tool
            path.write_text(SHIM.format(tool=tool, order=ORDER.format(tool=tool)))
            path.chmod(0o755)
        # sudo finds the shim first, and knows the tool by its path.
        allowed = lab.root(host) / "etc/sudoers.d/shims"
        allowed.write_text("".join(f"tungsten ALL=(root) NOPASSWD: /usr/local/bin/{tool}\n" for tool in TOOLS))
        allowed.chmod(0o440)


def order(lab, host, tool, words, how):
    (lab.root(host) / ORDER.format(tool=tool)).write_text(json.dumps({"words": words, "how": how}))


def cancel(lab):
    for host in lab.hosts()[1:]:
        for tool in TOOLS:
            (lab.root(host) / ORDER.format(tool=tool)).unlink(missing_ok=True)
