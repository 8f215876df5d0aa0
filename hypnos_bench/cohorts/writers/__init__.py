"""Writers of small fake cohorts, each in exactly the files, labels and rates of the real one."""
