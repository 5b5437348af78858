"""The picture of skills and control: one point a skill."""

from collections.abc import Sequence

from matplotlib.figure import Figure as Canvas

from ablations.skills import SkillRow
from workbench.probes.correlation import Correlation
from workbench.skills.facts import SKILLS


def skill_scatter(study: str, rows: Sequence[SkillRow], found: Correlation | None) -> Canvas:
    """Skill gain against control gain with its 95 % interval, both in points; hollow: a control, or too few seeds."""
    canvas = Canvas(figsize=(6.4, 5), layout="constrained")
    axes = canvas.add_subplot()
    for row in rows:
        if row.control is None:
            continue
        x, y = 100 * row.gain, 100 * row.control.value
        bars = [[y - 100 * row.control.low], [100 * row.control.high - y]]
        fill = "white" if SKILLS[row.skill].control or row.control.screening else "#0b5fa5"
        axes.errorbar([x], [y], yerr=bars, fmt="o", color="#0b5fa5", markerfacecolor=fill, elinewidth=1)
        axes.annotate(row.skill, (x, y), textcoords="offset points", xytext=(6, 4), fontsize=8)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("skill gain: held-out questions answered exactly (points)")
    axes.set_ylabel("control gain: success over all-trained (points), 95 % interval")
    interval = "" if found is None else f" {found.rho:.2f} [{found.low:.2f}, {found.high:.2f}]"
    said = f"rank correlation{interval or ': too few skills that differ'}"
    hollow = "hollow: a control, or fewer than 3 training seeds (screening)"
    axes.set_title(f"Skills and control · {study}\n{said}\n{hollow}", loc="left", fontsize=9)
    return canvas
