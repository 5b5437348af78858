"""SimplerEnv (Li et al. 2024, arXiv 2405.05941) for `server.py`: WidowX on Bridge's table, the Google robot's coke can.

Scenes, initial states and success are SimplerEnv's visual-matching setup, as its published scripts call it
(`octo_bridge.sh`, `octo_pick_coke_can_visual_matching.sh`), and success is what holds at an episode's last step, as its
evaluator counts it. Action: Δx Δy Δz in metres, Δroll Δpitch Δyaw in radians, about the base's axes, gripper (+1 open).
State: the tool's pose in the world, x y z and a quaternion w x y z; the robots look along the world's -x.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

BRIDGE = {
    "spoon-on-towel": "widowx_spoon_on_towel",
    "carrot-on-plate": "widowx_carrot_on_plate",
    "stack-cube": "widowx_stack_cube",
    "eggplant-in-basket": "widowx_put_eggplant_in_basket",
}
"""Our tasks, and SimplerEnv's name of each."""
COKE = {"pick-horizontal-can": "lr_switch", "pick-vertical-can": "laid_vertically", "pick-standing-can": "upright"}
"""Our tasks, and how the can lies."""
COLOURS = (
    None,
    "recolor_tabletop_visual_matching_1",
    "recolor_tabletop_visual_matching_2",
    "recolor_cabinet_visual_matching_1",
)
"""The arm's textures over which the published figures are averaged."""
SPOTS = tuple((x, y) for x in np.linspace(-0.35, -0.12, 5) for y in np.linspace(-0.02, 0.42, 5))
"""Where the can lies, metres: initial state i has spot i % 25 and colour i // 25."""
STICKY = 15
"""Control steps for which the Google robot's gripper goes on closing or opening."""


class Gripper:
    """A wish (open or not) as the Google robot's change: +1 closes, -1 opens, for `STICKY` steps after each change."""

    def __init__(self) -> None:
        self.before: float | None = None
        self.change, self.left = 0.0, 0

    def command(self, opened: bool) -> float:
        wish = 0.0 if self.before is None else self.before - opened
        self.before = float(opened)
        if self.left == 0 and wish:
            self.change, self.left = wish, STICKY
        if self.left == 0:
            return wish
        self.left -= 1
        return self.change


class Simulator:
    PLAYS = {"simpler-bridge": "76ecf95a9ccb", "simpler-fractal": "492666190670"}

    def __init__(self, rules: dict[str, Any], count: int, camera: str, render: str):
        self.horizons, self.camera = rules["horizons"], camera.rpartition(" ")[0]
        self.rows = [Row() for _ in range(count)]
        self.spare = Row()

    def place(self, row: int, start: dict[str, Any]) -> str:
        return self.rows[row].begin(start)

    def move(self, row: int, action: np.ndarray) -> tuple[bool, float, bool, str]:
        played = self.rows[row]
        solved, stages = played.step(action)
        last = played.age >= self.horizons[played.task]
        return solved and last, sum(stages) / len(stages), False, played.sentence()

    def look(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        played = self.rows[row]
        return played.picture(self.camera), np.asarray(played.seen["extra"]["tcp_pose"])

    def first_frame(self, start: dict[str, Any]) -> np.ndarray:
        self.spare.begin(start)
        return self.spare.picture(self.camera)

    def sentence(self, start: dict[str, Any]) -> str:
        return self.spare.begin(start)

    def close(self) -> None:
        for row in [*self.rows, self.spare]:
            row.close()


class Row:
    """One environment, made anew where the next episode's scene is another one."""

    def __init__(self) -> None:
        self.env: Any = None
        self.scene: tuple[Any, ...] = ()
        self.task, self.age = "", 0
        self.seen: dict[str, Any] = {}
        self.gripper = Gripper()

    def begin(self, start: dict[str, Any]) -> str:
        self.task, self.age, self.gripper = start["task"], 0, Gripper()
        state = start["initial_state"]
        scene = (self.task, None) if self.task in BRIDGE else (self.task, COLOURS[state // len(SPOTS)])
        if scene != self.scene:
            self.close()
            self.env, self.scene = bridge(self.task) if self.task in BRIDGE else google(*scene), scene
        options = {"obj_init_options": {"episode_id": state}} if self.task in BRIDGE else on_spot(state % len(SPOTS))
        anew = {"reconfigure": True}  # else the solver remembers what was played before: its evaluator makes all anew
        self.seen, _ = self.env.reset(options={**options, **anew})
        return self.sentence()

    def step(self, action: np.ndarray) -> tuple[bool, list[bool]]:
        """Whether the task is solved now, and which stages were reached so far."""
        opened = bool(action[6] > 0)
        gripper = (1.0 if opened else -1.0) if self.task in BRIDGE else self.gripper.command(opened)
        axis, angle = import_module("transforms3d.euler").euler2axangle(*action[3:6])
        self.seen, _, solved, _, info = self.env.step(np.concatenate([action[:3], axis * angle, [gripper]]))
        self.age += 1
        stats, grasp = info["episode_stats"], ("is_src_obj_grasped", "consecutive_grasp")
        stages = [bool(stats[name]) for name in (grasp if self.task in BRIDGE else ("grasped", "consec_grasp"))]
        return bool(solved), [*stages, bool(solved)]

    def picture(self, camera: str) -> np.ndarray:
        return np.asarray(self.seen["image"][camera]["rgb"], np.uint8)

    def sentence(self) -> str:
        return self.env.unwrapped.get_language_instruction()

    def close(self) -> None:
        if self.env is not None:
            self.env.close()
            self.env = None


def bridge(task: str) -> Any:
    return import_module("simpler_env").make(BRIDGE[task])


def google(task: str, colour: str | None) -> Any:
    """The coke can's scene, with the arm's textures of that name."""
    assets = import_module("mani_skill2_real2sim").ASSET_DIR
    robot = "google_robot_static"
    environments = import_module("simpler_env.utils.env.env_builder")
    return environments.build_maniskill2_env(
        "GraspSingleOpenedCokeCanInScene-v0",
        obs_mode="rgbd",
        robot=robot,
        sim_freq=501,
        control_freq=3,
        control_mode=environments.get_robot_control_mode(robot, ""),
        max_episode_steps=80,
        scene_name="google_pick_coke_can_1_v4",
        camera_cfgs={"add_segmentation": True},
        rgb_overlay_path=str(assets / "real_inpainting" / "google_coke_can_real_eval_1.png"),
        urdf_version=colour,
        **{COKE[task]: True},
    )


def on_spot(spot: int) -> dict[str, Any]:
    robot = {"init_xy": np.array([0.35, 0.20]), "init_rot_quat": np.array([0, 0, 0, 1])}
    return {"robot_init_options": robot, "obj_init_options": {"init_xy": np.array(SPOTS[spot])}}
