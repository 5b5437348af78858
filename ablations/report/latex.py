"""The table as LaTeX, for a paper: needs the packages booktabs and graphicx."""

import re

from ablations.report.columns import Section, facts, footnotes, sections
from ablations.table import Table

SYMBOLS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "–": "--",
    "−": "$-$",
    "†": r"$\dagger$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "÷": r"$\div$",
    "≤": r"$\leq$",
    "·": r"$\cdot$",
    "…": r"\dots{}",
} | {mark: f"\\{mark}" for mark in "&%$#_"}


def latex(table: Table) -> str:
    """Each section is a `table` with its own label, `tab:<study>-<number>`."""
    head = f"% {table.study}: needs \\usepackage{{booktabs,graphicx}}"
    verdict = f"\\paragraph{{Verdict.}} {escaped(table.verdict)}"
    floats = [_section(section, f"{table.study}-{number}") for number, section in enumerate(sections(table), start=1)]
    conditions = "; ".join(f"{name} {value}" for name, value in facts(table))
    notes = "\n".join(rf"  \item {escaped(note)}" for note in (f"{conditions}.", *footnotes(table)))
    listed = f"\\begin{{itemize}}\\footnotesize\n{notes}\n\\end{{itemize}}"
    return "\n\n".join([head, verdict, *floats, listed]) + "\n"


def _section(section: Section, label: str) -> str:
    titles = [escaped(column.title) for column in section.columns]
    caption = f"{escaped(section.title)}."
    if legend := section.legend():
        meanings = (rf"\emph{{{escaped(title)}}}: {escaped(meaning)}" for title, meaning in legend.items())
        caption += f" {'; '.join(meanings)}."
    rows = [" & ".join(escaped(cell) for cell in row) + r" \\" for row in section.cells()]
    return "\n".join(
        [
            r"\begin{table}[t]",
            r"\centering",
            rf"\caption{{{caption}}}",
            rf"\label{{tab:{label}}}",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{{'l' * len(titles)}}}",
            r"\toprule",
            " & ".join(titles) + r" \\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
        ]
    )


def escaped(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return re.sub("|".join(re.escape(mark) for mark in SYMBOLS), lambda found: SYMBOLS[found.group()], text)
