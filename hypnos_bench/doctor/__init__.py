"""What a cohort on disk holds, what was understood of it, and what would be lost: headers and annotations only."""

from hypnos_bench.doctor.checkup import Checkup, examine
from hypnos_bench.doctor.diagnosis import Diagnosis, Loss, diagnose
from hypnos_bench.doctor.workers import examine_all

__all__ = ["Checkup", "Diagnosis", "Loss", "diagnose", "examine", "examine_all"]
