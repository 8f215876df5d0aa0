"""A plug-in package as another project would write it: spread of one EEG channel, per 30-s epoch."""

import numpy as np

from hypnos_bench.encoders.base import Embedding, EncoderCard
from hypnos_bench.errors import RecordingError


class ToyEncoder:
    """Standard deviation of C3 and of its first difference, on a logarithmic scale."""

    title = "Toy: spread of C3"

    def __init__(self, options):
        self.scale = float(options.choose("toy", {"scale": ("1", "2")})["scale"])
        self.card = EncoderCard(
            id="toy",
            title=self.title,
            version="1",
            step_s=30.0,
            window_s=30.0,
            causal=True,
            lag_rows=0,
            channels=("C3",),
            missing="without C3 a recording is refused",
            settings={"scale": self.scale},
            licence="MIT",
            dim=2,
        )

    def encode(self, recording):
        signal = recording.signal("C3")
        if signal is None or not np.isfinite(signal.values).all():
            raise RecordingError(recording.id, "C3 is absent or has gaps")
        if np.ptp(signal.values) == 0:
            raise ValueError("C3 is flat")  # a fault of this code: it should say RecordingError
        epoch = round(30 * signal.rate_hz)
        epochs = signal.values[: len(signal.values) // epoch * epoch].reshape(-1, epoch)
        rows = np.stack([epochs.std(axis=1), np.diff(epochs).std(axis=1)], axis=1)
        rows = self.scale * np.log(rows).astype(np.float32)
        return Embedding({"spread": rows}, 0.0, 30.0, {"spread": signal.source})
