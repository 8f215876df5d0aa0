"""Tables and figures from cells only: nothing is fitted, scored or read from signals here.

Importing this room loads pandas and matplotlib; the command line does so inside its commands.
"""

from hypnos_bench.report.markdown import write_across, write_report
from hypnos_bench.report.tables import terminal_tables
from hypnos_bench.significance import SideFiles

__all__ = ["SideFiles", "terminal_tables", "write_across", "write_report"]
