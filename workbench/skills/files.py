"""Questions that others have published, from local files in the formats that they come in.

LLaVA's JSON (arXiv:2304.08485; RoboPoint, arXiv:2406.10721, and others follow it): a list, or a line each, of
`{"image": "a.jpg", "conversations": [{"from": "human", "value": "<image>\\n…"}, {"from": "gpt", "value": "…"}, …]}`,
the pictures in the file's folder. Robo2VLM-1's parquet (arXiv:2505.15517, its dataset card): `question`, `choices` (a
list, written out), `correct_answer` (its place in the list) and `image` with its bytes. VQASynth's parquet (the dataset
card of OpenSpaces): `messages` with a `role` and pieces of `content`, and `images`, of which the first is shown.
ViCA-322K's JSON (arXiv:2505.12312; its repository's notebook shows a row) is LLaVA's with `video` in place of `image`,
such as `scannet/scene0000_00.mp4`: an MP4 file or a folder of frames, of which a grid is shown.
"""

import ast
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import numpy as np

from workbench.errors import UserError
from workbench.skills.videos import Video

ERRORS = (KeyError, TypeError, ValueError, IndexError, SyntaxError)
"""What a row of another format raises."""


@dataclass(frozen=True)
class Written:
    """One question of a file. `picture` is a path, the file's own bytes, or a video."""

    question: str
    answer: str
    picture: Path | bytes | Video = field(repr=False)

    def image(self, side: int) -> np.ndarray:
        """uint8 [side, side, 3], RGB. Raises UserError for a picture that is missing or none."""
        if isinstance(self.picture, Video):
            return self.picture.image(side)
        from PIL import Image, UnidentifiedImageError

        try:
            opened = Image.open(BytesIO(self.picture) if isinstance(self.picture, bytes) else self.picture)
            return np.asarray(opened.convert("RGB").resize((side, side), Image.Resampling.BICUBIC))
        except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
            where = "" if isinstance(self.picture, bytes) else f" ({self.picture})"
            raise UserError(f"The picture of the question {self.question!r}{where} cannot be read: {error}") from error


def read_questions(file: Path) -> list[Written]:
    """Every question and answer of the file; each question of a conversation is asked alone.

    Entries without a picture are left out. Raises UserError for a file that is missing, empty or of another format.
    """
    if not file.is_file():
        raise UserError(f"There is no file of questions {file}.")
    rows = _parquet(file) if file.suffix == ".parquet" else _json(file)
    found: list[Written] = []
    for number, row in enumerate(rows):
        try:
            found += _turns(row, file.parent)
        except ERRORS as error:
            raise UserError(
                f"{file}, row {number}: it is in none of the known formats ({type(error).__name__}: {error}): LLaVA's "
                "image and conversations, ViCA's video and conversations, Robo2VLM's question, choices, correct_answer "
                "and image, or VQASynth's messages and images."
            ) from error
    if not found:
        raise UserError(f"{file} holds no question about a picture or a video.")
    return found


def _json(file: Path) -> list[Any]:
    try:
        text = file.read_text()
        return [json.loads(line) for line in text.splitlines() if line] if file.suffix == ".jsonl" else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is not JSON: {error}") from error


def _parquet(file: Path) -> list[Any]:
    import pyarrow
    from pyarrow import parquet

    try:
        return parquet.read_table(file).to_pylist()
    except pyarrow.ArrowInvalid as error:
        raise UserError(f"{file} is not parquet: {error}") from error


def _turns(row: Mapping[str, Any], folder: Path) -> Iterator[Written]:
    if "choices" in row:
        yield _of_choices(row, folder)
    elif "messages" in row:
        said = [(message["role"], _text(message["content"])) for message in row["messages"]]
        if row["images"]:
            yield from _pairs(said, ("user", "assistant"), _picture(row["images"][0], folder))
    else:
        said = [(part["from"], part["value"]) for part in row["conversations"]]
        if "image" in row:
            yield from _pairs(said, ("human", "gpt"), _picture(row["image"], folder))
        elif "video" in row:
            yield from _pairs(said, ("human", "gpt"), Video(_beside(row["video"], folder)))


def _pairs(said: list[tuple[str, str]], roles: tuple[str, str], picture: Path | bytes | Video) -> Iterator[Written]:
    """What one side asks, and what the other says to it at once."""
    for (who, question), (other, answer) in zip(said, said[1:], strict=False):
        if (who, other) == roles:
            yield Written(question.replace("<image>", "").strip(), answer.strip(), picture)


def _of_choices(row: Mapping[str, Any], folder: Path) -> Written:
    """The choices stand below the question, each behind a letter; the answer is a letter."""
    choices = row["choices"]
    choices = ast.literal_eval(choices) if isinstance(choices, str) else choices
    letters = ascii_uppercase[: len(choices)]
    lines = [f"{letter}. {choice}" for letter, choice in zip(letters, choices, strict=True)]
    right = range(len(choices))[row["correct_answer"]]
    return Written("\n".join([row["question"], *lines]), letters[right], _picture(row["image"], folder))


def _text(content: str | list[Mapping[str, Any]]) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part["type"] == "text")


def _picture(image: str | Mapping[str, Any], folder: Path) -> Path | bytes:
    """A path in the folder; or, in parquet, `bytes` or a `path`."""
    if isinstance(image, str):
        return _beside(image, folder)
    return image["bytes"] if image["bytes"] is not None else _beside(image["path"], folder)


def _beside(name: str, folder: Path) -> Path:
    """Raises ValueError for a place outside the folder: who wrote the questions does not choose what is read here."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(f"the picture {name} is not within the file's folder")
    return folder / name
