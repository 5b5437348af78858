"""A backbone's anatomy as a person reads it: a tree, one branch a slot."""

from rich.tree import Tree

from workbench.anatomy import Anatomy, Part, brief


def anatomy_tree(seen: Anatomy) -> Tree:
    """Slots with what they give and where they lie in the model; what is tied, unused or replaced stands apart."""
    listed = "" if seen.listed else "  [yellow]not a listed family: checked when its weights are loaded[/yellow]"
    tree = Tree(f"[bold]{seen.backbone}[/bold]  {seen.family}, {seen.total_parameters:,} parameters{listed}")
    for part in seen.slots:
        if part.slot in ("tied", "unused", "replaced") and not part.paths:
            continue
        branch = tree.add(_title(part))
        for path in brief(part.paths):
            branch.add(f"[dim]{path}[/dim]")
    freezing = ", ".join(brief(seen.slot("vision").paths))
    tree.add(f"[bold]freezing vision[/bold] freezes {freezing}; the projector's modules keep training")
    told = tree.add("[bold]passed to the decoder[/bold]")
    for line in seen.passes:
        told.add(line)
    return tree


def _title(part: Part) -> str:
    facts = [
        f"{part.parameters:,} parameters" if part.slot != "tied" else "counted with the embeddings",
        part.side and f"{part.side} × {part.side} pixels",
        part.blocks and f"{part.blocks} blocks",
        part.width and f"width {part.width:,}",
        part.tokens and f"{part.tokens} tokens an image",
        part.attention,
        part.note,
    ]
    return f"[bold]{part.slot}[/bold]  " + " · ".join(fact for fact in facts if fact)
