"""From an instruction to word tokens: the family's chat template around it, the image's place left out."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.backbones.contract import Words, pad_right
from workbench.backbones.family import Family
from workbench.errors import UserError

BLANK = "{instruction}"


@dataclass(frozen=True)
class Chat:
    """Tokenises `text` with `{instruction}` filled in; the last of its `markers` tokens `marker` is the image's place.

    The whole text is tokenised at once and cut afterwards, so that the words beside the image are the tokens that the
    family's processor makes.
    """

    tokenizer: Any
    prompt: str
    """What the user says, with `{instruction}` left open."""
    text: str
    marker: int
    markers: int
    image_at: int

    def __call__(self, instructions: Sequence[str]) -> Words:
        """Raises UserError for an instruction that holds the image's placeholder."""
        texts = list(dict.fromkeys(instructions))  # rows that play one task are told the same
        rows = {text: self._cut(ids, text) for ids, text in zip(self._ids(texts), texts, strict=True)}
        pad = self.tokenizer.pad_token_id
        return pad_right([rows[text] for text in instructions], 0 if pad is None else pad)

    def _ids(self, instructions: Sequence[str]) -> list[list[int]]:
        texts = [self.text.replace(BLANK, text) for text in instructions]
        start = self.tokenizer.bos_token
        return self.tokenizer(texts, add_special_tokens=start is None or start not in self.text)["input_ids"]

    def _cut(self, ids: list[int], instruction: str) -> list[int]:
        if ids.count(self.marker) != self.markers:
            raise UserError(f"The instruction {instruction!r} holds the token that marks the image's place.")
        place = len(ids) - 1 - ids[::-1].index(self.marker)
        if place != self.image_at:
            raise AssertionError(f"the image stands at {place} for {instruction!r}, not at {self.image_at}")
        return ids[:place] + ids[place + 1 :]


@dataclass(frozen=True)
class Answers:
    """Tokenises answers by themselves, as they follow a prompt, each ended by the tokenizer's end of sequence."""

    tokenizer: Any

    def __call__(self, texts: Sequence[str]) -> Words:
        """Raises UserError where the tokenizer has no such token."""
        end, pad = self.tokenizer.eos_token_id, self.tokenizer.pad_token_id
        if end is None:
            raise UserError("This backbone's tokenizer has no token that ends an answer (eos_token).")
        rows = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        return pad_right([[*row, end] for row in rows], 0 if pad is None else pad)


def build_chat(family: Family, tokenizer: Any, template: str | None, marker: str, prompt: str) -> Chat:
    """The chat whose user says `prompt`. Raises UserError for a prompt or a template that cannot be used."""
    if prompt.count(BLANK) != 1:
        raise UserError(f"The prompt {prompt!r} must hold {BLANK} once: the place of the instruction.")
    text = _render(family, tokenizer, template if family.templated else None, marker, prompt)
    if text.count(BLANK) != 1:
        raise UserError(f"The chat template of this {family.title} does not hold the user's words once: {text!r}")
    known = tokenizer.convert_tokens_to_ids(marker)
    draft = Chat(tokenizer, prompt, text, known, 0, 0)
    places = [[i for i, token in enumerate(ids) if token == known] for ids in draft._ids(["a", "lift the red block"])]
    if not places[0] or places[0] != places[1]:
        raise UserError(
            f"In the chat template of this {family.title} the image's place depends on the instruction, or it has "
            f"none: {text!r}"
        )
    return Chat(tokenizer, prompt, text, known, len(places[0]), places[0][-1])


def _render(family: Family, tokenizer: Any, template: str | None, marker: str, prompt: str) -> str:
    if template is None:
        text = family.template.replace("{prompt}", prompt)
    else:
        text = _filled(tokenizer, template, prompt)
    short, long = family.placeholder or (marker, marker)
    if template is not None and text.count(short) != 1:
        raise UserError(f"The chat template of this {family.title} should place one {short!r}, but gives {text!r}")
    return text.replace(short, long)


def _filled(tokenizer: Any, template: str, prompt: str) -> str:
    """transformers fills templates in in a sandbox: what a template reaches for beyond its words is refused."""
    said = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}]
    try:
        return tokenizer.apply_chat_template(said, chat_template=template, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # a template is a program of whoever wrote it: it may end in anything
        raise UserError(
            f"The chat template in {tokenizer.name_or_path} cannot be used ({type(error).__name__}: {error})."
        ) from error


def chat_template(folder: Path, tokenizer: Any) -> str | None:
    """The processor's chat template, else the tokenizer's, else None; as `AutoProcessor` would choose.

    Raises UserError for a file that is no JSON object.
    """
    for name in ("chat_template.json", "chat_template.jinja", "processor_config.json"):
        file = folder / name
        if not file.is_file():
            continue
        if file.suffix == ".jinja":
            return file.read_text()
        if template := _object(file).get("chat_template"):
            return template
    return None if tokenizer.chat_template is None else tokenizer.get_chat_template()


def _object(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is not JSON: {error}. Copy it again.") from error
    if not isinstance(found, dict):
        raise UserError(f"{file} holds a {type(found).__name__}, not a JSON object. Copy it again.")
    return found
