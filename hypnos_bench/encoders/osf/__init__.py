"""OSF (Open Sleep FM) beside Hypnos: its network, its files, its twelve channels."""

from hypnos_bench.encoders.osf.adapter import OSFEncoder as OSFEncoder
from hypnos_bench.encoders.osf.untrained import OSFUntrained as OSFUntrained
