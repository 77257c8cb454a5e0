"""
Show the report of a run as a text for a ticket, as ``salt-run reprovision.report`` returns it.

Salt chooses it for that function; ``--out=json`` gives the data instead.
"""

__virtualname__ = "tungsten_report"


def __virtual__():
    return __virtualname__


def output(data, **kwargs):
    """
    Return the text.

    data
        What ``salt-run reprovision.report --out=json`` prints.

    Returns lines of text.

    CLI Example:

    .. code-block:: bash

        salt-run reprovision.report east --out=tungsten_report
    """
    return data["text"]
