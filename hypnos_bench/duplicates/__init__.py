"""Near-duplicate nights: the same recording twice in a cohort, shifted, cropped, resampled or under another name.

A night's heartbeats, or where there is no ECG the envelope of its EEG, are as good as a fingerprint. Copies are
found through an index of short patterns and confirmed stretch by stretch; persons whose nights turn out to be one
are then kept on one side of every split (`merge_families`). After Wang (2003, Proc. ISMIR), who finds songs by
patterns that agree on a time offset.

A person's *other* nights are not found: nothing here recognises people.
"""

from hypnos_bench.duplicates.cache import FingerprintCache, Fingerprinted, fingerprint_all
from hypnos_bench.duplicates.families import common_persons, merge_families
from hypnos_bench.duplicates.fingerprint import Fingerprint, envelope_fingerprint, fingerprint, rr_fingerprint
from hypnos_bench.duplicates.matching import MIN_SHARE, Pair, find_duplicates

__all__ = [
    "MIN_SHARE",
    "Fingerprint",
    "FingerprintCache",
    "Fingerprinted",
    "Pair",
    "common_persons",
    "envelope_fingerprint",
    "find_duplicates",
    "fingerprint",
    "fingerprint_all",
    "merge_families",
    "rr_fingerprint",
]
