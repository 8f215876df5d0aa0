"""A plug-in encoder that writes down what it begins, and waits when it is held; the cluster tests install it."""

import dataclasses
import os
import time
from pathlib import Path

from hypnos_bench.encoders.features import FeaturesEncoder


class Slow:
    def __init__(self, options):
        self._inner = FeaturesEncoder(options)
        self.card = dataclasses.replace(self._inner.card, id="slow")

    def encode(self, recording):
        begun, hold = Path(os.environ["SLOW_BEGUN"]), Path(os.environ["SLOW_HOLD"])
        with begun.open("a") as log:
            log.write(f"{recording.id} {os.getpid()}\n")
        while hold.exists() and len(begun.read_text().splitlines()) > int(hold.read_text()):
            time.sleep(0.02)
        return self._inner.encode(recording)
