"""Stand-in scene files for libero-object and libero-goal: plain boxes under the names that LIBERO's scenes ask for.

The real meshes and textures are a download. All else is real: LIBERO's problem classes, predicates and initial states
(a box has the joints of the mesh it stands for), robosuite's robot, controller, cameras and renderer.
"""

from pathlib import Path

from PIL import Image

from workbench.benchmarks.libero.files import FOLDERS

FOODS = (
    *("alphabet_soup", "bbq_sauce", "butter", "chocolate_pudding", "cream_cheese"),
    *("ketchup", "milk", "orange_juice", "salad_dressing", "tomato_sauce"),
)
ARENA = """<mujoco model="arena"><asset>
  <texture name="texplane" type="2d" file="../textures/floor.png"/>
  <texture name="tex-wall" type="2d" file="../textures/wall.png"/>
  <material name="plane" texture="texplane" texrepeat="4 4"/>
</asset><worldbody><light pos="1 1 2" dir="-.4 -.4 -1" directional="true"/>{ground}</worldbody></mujoco>"""
FLOOR = '<body name="floor">{plane}</body>'
PLANE = '<geom name="floor" type="plane" size="3 3 .1" pos="0 0 {height}" material="plane" group="1"/>'
TABLE = """<body name="table">
  <geom name="table_collision" type="box" size="1 1 1" group="0"/>
  <geom name="table_visual" type="box" size="1 1 1" group="1" contype="0" conaffinity="0" rgba=".7 .6 .5 1"/>
  {legs}<site name="table_top"/></body>"""
LEG = '<geom name="table_leg{number}_visual" type="cylinder" size="1 1" group="1" contype="0" conaffinity="0"/>'
THING = """<mujoco model="{name}"><worldbody><body>
  <body name="object">{inside}</body>
  <site name="bottom_site" pos="0 0 {bottom}"/>
  <site name="top_site" pos="0 0 {top}"/>
  <site name="horizontal_radius_site" pos="{radius} {radius} 0"/>
</body></worldbody></mujoco>"""
BOX = '<geom type="box" size="{size}" pos="{at}" rgba="{colour} 1" group="{group}" density="400" {touch}/>'
SITE = '<site name="{name}" type="box" pos="{at}" quat="1 0 0 0" size="{size}" rgba="0 0 0 0"/>'
DRAWER = """<body name="{name}" pos="0 0 {height}"><joint name="{name}" type="slide" axis="0 1 0" range="-.16 .01"
  damping="50"/>{box}{site}</body>"""
KNOB = '<body name="knob" pos="-.12 0 .01"><joint name="knob" type="hinge" axis="0 0 1" damping="5"/>{box}</body>'


def write_scenes(folder: Path) -> Path:
    """All folders of LIBERO's scene files, with what the scenes of the two suites are made of."""
    for name in FOLDERS:
        (folder / name).mkdir(parents=True)
    for style in ("light-gray-floor-tile.png", "light-gray-plaster.png"):
        Image.new("RGB", (8, 8), (150, 150, 160)).save(folder / "textures" / style)
    floor = FLOOR.format(plane=PLANE.format(height=-0.035))
    table = PLANE.format(height=0) + TABLE.format(legs="".join(LEG.format(number=n) for n in range(1, 5)))
    (folder / "scenes" / "libero_floor_base_style.xml").write_text(ARENA.format(ground=floor))
    (folder / "scenes" / "libero_tabletop_base_style.xml").write_text(ARENA.format(ground=table))
    for index, name in enumerate(FOODS):
        colour = f"{0.1 * index:.1f} {1 - 0.1 * index:.1f} 0.3"
        _write(folder / "stable_hope_objects" / name, _box((0.03, 0.03, 0.03), (0, 0, 0), colour), 0.03)
    scanned, turbosquid, fixed = (
        folder / name for name in ("stable_scanned_objects", "turbosquid_objects", "articulated_objects")
    )
    _write(scanned / "basket", _basket(), 0.1)
    _write(scanned / "akita_black_bowl", _box((0.04, 0.04, 0.02), (0, 0, 0), "0.1 0.1 0.1"), 0.02)
    _write(scanned / "plate", _box((0.06, 0.06, 0.01), (0, 0, 0), "0.9 0.9 0.9"), 0.01)
    _write(turbosquid / "wine_bottle", _box((0.02, 0.02, 0.06), (0, 0, 0), "0.3 0 0.1"), 0.06)
    rack = _box((0.05, 0.05, 0.05), (0, 0, 0), "0.5 0.3 0.1") + _site("top_region", (0, 0, 0.05), (0.05, 0.05, 0.01))
    _write(turbosquid / "wine_rack", rack, 0.05)
    _text(fixed / "wooden_cabinet.xml", "wooden_cabinet", _cabinet(), 0.1)
    _text(fixed / "flat_stove.xml", "flat_stove", _stove(), 0.02)
    return folder


def _write(folder: Path, inside: str, half: float) -> None:
    folder.mkdir()
    _text(folder / f"{folder.name}.xml", folder.name, inside, half)


def _text(path: Path, name: str, inside: str, half: float) -> None:
    path.write_text(THING.format(name=name, inside=inside, bottom=-half, top=half, radius=half))


def _basket() -> str:
    """Open at the top, with the site in which things are contained."""
    side = [_box((0.1, 0.005, 0.04), (0, y, 0), "0.6 0.4 0.2") for y in (-0.1, 0.1)]
    side += [_box((0.005, 0.1, 0.04), (x, 0, 0), "0.6 0.4 0.2") for x in (-0.1, 0.1)]
    bottom = _box((0.1, 0.1, 0.005), (0, 0, -0.035), "0.6 0.4 0.2")
    return "".join(side) + bottom + _site("contain_region", (0, 0, 0), (0.09, 0.09, 0.08))


def _cabinet() -> str:
    """Three drawers, each with its slide and its region."""
    drawers = [
        DRAWER.format(
            name=f"{name}_level",
            height=height,
            box=_box((0.09, 0.09, 0.02), (0, 0, 0), "0.5 0.35 0.2"),
            site=_site(f"{name}_region", (0, 0, 0), (0.08, 0.08, 0.02)),
        )
        for name, height in (("top", 0.06), ("middle", 0), ("bottom", -0.06))
    ]
    return _site("top_side", (0, 0, 0.09), (0.09, 0.09, 0.01)) + "".join(drawers)


def _stove() -> str:
    """A plate to cook on, a burner that is seen when the knob is turned."""
    plate = _box((0.1, 0.08, 0.01), (0, 0, 0), "0.2 0.2 0.2") + _site("cook_region", (0, 0, 0.01), (0.05, 0.05, 0.01))
    burner = '<site name="burner" type="cylinder" size=".05 .002" pos="0 0 .012" rgba="1 .3 0 0"/>'
    return plate + burner + KNOB.format(box=_box((0.01, 0.01, 0.01), (0, 0, 0), "0.9 0.1 0.1"))


def _box(size: tuple[float, ...], at: tuple[float, ...], colour: str) -> str:
    """What is touched (group 0) and what is seen (group 1)."""
    told = {"size": " ".join(map(str, size)), "at": " ".join(map(str, at)), "colour": colour}
    touched = BOX.format(**told, group=0, touch="")
    return touched + BOX.format(**told, group=1, touch='contype="0" conaffinity="0" mass="1e-6"')


def _site(name: str, at: tuple[float, ...], size: tuple[float, ...]) -> str:
    return SITE.format(name=name, at=" ".join(map(str, at)), size=" ".join(map(str, size)))
