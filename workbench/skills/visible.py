"""Which pixels show a thing: what segmentation is taught from, and what apparent size is counted in."""

import numpy as np

from workbench.benchmarks.tabletop.world import COLOURS
from workbench.scene import COLOURS as NAMES
from workbench.skills.contract import Known

# H, W pixels  C colours  M things

NEUTRAL = (0.72, 0.70, 0.67)
"""The table, and by its hue the gripper and its spot too."""


def visible(known: Known, row: int) -> np.ndarray:
    """bool `[M, H, W]`: the pixels that show each thing, what hides a part of it left out.

    Each thing has a colour of its own, light changes how bright it is and not its hue, and a pixel shows one thing
    (the protocol renders without multisampling): a test compares these masks with the renderer's own, pixel by pixel.
    """
    image_HW3 = known.frames.image[row].astype(np.float32)
    hues_C3 = np.array([*(COLOURS[name] for name in NAMES), NEUTRAL], np.float32)
    hues_C3 /= np.linalg.norm(hues_C3, axis=1, keepdims=True)
    return (image_HW3 @ hues_C3.T).argmax(axis=-1) == known.scenes.colour_NM[row, :, None, None]
