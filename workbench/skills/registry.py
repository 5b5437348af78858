"""From a skill's name to the function that asks."""

from workbench.skills.affordance import affordance
from workbench.skills.colours import colours
from workbench.skills.contract import Skill
from workbench.skills.depth import depth
from workbench.skills.depth_row import depth_row
from workbench.skills.distance import distance
from workbench.skills.order import order
from workbench.skills.planning import planning
from workbench.skills.pointing import pointing
from workbench.skills.segmentation import segmentation
from workbench.skills.size import size
from workbench.skills.spatial import spatial
from workbench.skills.trajectory import trajectory
from workbench.skills.viewpoint import viewpoint

ASK: dict[str, Skill] = {
    "pointing": pointing,
    "colours": colours,
    "spatial": spatial,
    "distance": distance,
    "affordance": affordance,
    "planning": planning,
    "trajectory": trajectory,
    "order": order,
    "depth": depth,
    "size": size,
    "viewpoint": viewpoint,
    "segmentation": segmentation,
    "depth-row": depth_row,
}
"""By the names of `facts.SKILLS`; a test compares them."""
