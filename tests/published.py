"""Published runs as numbers, loss by epoch, None where the source is not legible; studies/published/ has their sources.

P1 is squad-subset there, P2 imdb-five-models, P3 tweets, P4 reviews-frozen (ten epochs and twenty).
"""

from __future__ import annotations

from typing import NamedTuple


class Published(NamedTuple):
    """One published curve and what a careful reader concludes from it."""

    train_loss: tuple[float | None, ...]
    validation_loss: tuple[float | None, ...]
    words: str
    strength: str = ""


AFTER_1 = "overfitting after epoch 1"
BY_GAP = "overfitting by its gap, no turning epoch"

P1 = Published((1.1314, 0.6137, 0.4221), (1.6476, 1.8053, 1.8659), AFTER_1, "clearly")

P2_1 = Published((0.3630, 0.2588, 0.1764), (0.3958, 0.4340, 0.4070), AFTER_1, "clearly")
P2_2 = Published((0.3741, 0.2457), (0.3840, 0.3675), "healthy")
P2_3 = Published((0.2179, 0.1823), (0.3916, 0.4092), AFTER_1, "weakly")
P2_4 = Published((0.1187, 0.1124, 0.0377), (0.5945, 0.5918, 0.5751), BY_GAP, "clearly")
P2_5 = Published((0.4560, 0.3167), (0.4139, 0.3885), "healthy")
P2_REFINED = Published((0.4348, 0.3018, 0.1041), (0.3785, 0.4008, 0.5126), AFTER_1, "clearly")

P3 = Published((0.4864, 0.3563), (0.4342, 0.4375), "healthy")

P4_10 = Published(
    (0.656, 0.630, 0.606, 0.585, 0.560, 0.538, 0.513, 0.494, 0.476, 0.463),
    (0.633, 0.606, 0.583, 0.554, 0.536, 0.503, 0.483, 0.459, 0.447, 0.428),
    "still learning",
)
P4_20 = Published(
    (0.660, 0.631, 0.609, 0.585, 0.564, 0.540, 0.519, 0.501, 0.484, 0.467)
    + (0.458, None, 0.428, 0.415, 0.410, 0.402, 0.390, 0.393, None, 0.384),
    (None, 0.618, 0.589, 0.566, 0.540, 0.517, 0.492, 0.472, 0.460, 0.436)
    + (0.421, None, 0.399, 0.389, 0.373, 0.362, 0.354, 0.360, 0.342, 0.341),
    "still learning",
)

P4_10_TRAIN_ACCURACY = (0.616, 0.626, 0.655, 0.689, 0.723, 0.753, 0.770, 0.785, 0.791, 0.797)
P4_10_VALIDATION_ACCURACY = (0.620, 0.620, 0.625, 0.700, None, 0.755, 0.740, 0.785, 0.775, 0.795)

P1_GAPS = (0.52, 1.19, 1.44)

TABLES: dict[str, Published] = {
    "P1": P1,
    "P2 model 1": P2_1,
    "P2 model 2": P2_2,
    "P2 model 3": P2_3,
    "P2 model 4": P2_4,
    "P2 model 5": P2_5,
    "P2 refined": P2_REFINED,
    "P3": P3,
    "P4, 10 epochs": P4_10,
    "P4, 20 epochs": P4_20,
}
