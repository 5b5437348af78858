"""What may fill the language slot besides the native model: its first blocks, or another causal language model.

The other one brings its own embeddings and tokenizer; the image stands first, then the words, then the query.
"""

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from encoders.pretrained import check_weights, read_pretrained
from encoders.torchvision_ops import ensure
from workbench.backbones.chat import BLANK, Answers
from workbench.backbones.contract import Language, LmHead, Words, pad_right
from workbench.backbones.decoder import CAUSAL, Decoder, decoder_window
from workbench.backbones.family import lm_head
from workbench.backbones.registry import prepare
from workbench.backbones.source import WANTED, WEIGHTS, fetched, folder
from workbench.errors import UserError
from workbench.plan import Compute


@dataclass(frozen=True)
class Tokens:
    """Instructions as words of `prompt`, which holds `{instruction}`; with the tokenizer's own special tokens."""

    tokenizer: Any
    prompt: str

    def __call__(self, instructions: Any) -> Words:
        texts = [self.prompt.replace(BLANK, text) for text in instructions]
        pad = self.tokenizer.pad_token_id
        return pad_right(self.tokenizer(texts)["input_ids"], 0 if pad is None else pad)


@dataclass(frozen=True)
class LanguageModel:
    """What of a backbone is replaced; the fields are called as the backbone's."""

    embeddings: nn.Module
    language: Language
    tokenize: Tokens
    chat: str
    lm_head: LmHead
    answers: Answers
    unused_parameters: int


def load_language_model(
    name: str, *, weights: Literal["pretrained", "random"], seed: int, prompt: str, compute: Compute
) -> LanguageModel:
    """The causal language model `name`, a local folder or a hub id; `random` draws every parameter from `seed`.

    Raises UserError where it cannot be had, is no causal language model, or cannot be told positions.
    """
    ensure()
    from transformers import AutoTokenizer

    path = language_folder(name)
    if weights == "pretrained" and not any(path.glob("*.safetensors")):
        if Path(name).expanduser().is_dir():
            raise UserError(f"The language model {name!r} has no safetensors weights in {path}.")
        path = fetched(name, WEIGHTS, WANTED, what="language model")
    try:
        tokenizer: Any = read_pretrained(AutoTokenizer, path)
    except (OSError, ValueError) as error:
        raise UserError(f"The language model {name!r} has no tokenizer in {path}: {error}") from error
    model = _read(path, name) if weights == "pretrained" else _random(path, name, seed)
    prepare(model, compute)
    return _take_apart(model, Tokens(tokenizer, prompt), name)


def language_folder(name: str) -> Path:
    """Where the configuration of the language model `name` lies. Raises UserError where there is none."""
    local = Path(name).expanduser()
    if "/" not in name and not local.is_dir():
        raise UserError(
            f"The language model {name!r} is neither a folder nor a hub id; write 'hf:owner/name' or 'hf:./folder'."
        )
    return folder(name if "/" in name else f"./{name}")


def keep_first_blocks(language: Language, blocks: int) -> int:
    """Drop the transformer blocks behind the first `blocks`; the final norm stays. Returns the parameters dropped."""
    whole = language.blocks
    if blocks > len(whole):
        raise UserError(f"The language model has {len(whole)} blocks, fewer than the {blocks} to be kept.")
    (holder,) = [module for module in language.modules() if isinstance(module, nn.ModuleList) and [*module] == whole]
    del holder[blocks:]
    return sum(parameter.numel() for block in whole[blocks:] for parameter in block.parameters())


def _take_apart(model: Any, tokens: Tokens, name: str) -> LanguageModel:
    base = model.base_model
    taken = inspect.signature(base.forward).parameters
    if lacking := {"inputs_embeds", "attention_mask", "position_ids"} - set(taken):
        raise UserError(f"The language model {name!r} is a {type(base).__name__}, which takes no {sorted(lacking)[0]}.")
    total = model.num_parameters()
    embeddings = base.get_input_embeddings()
    base.set_input_embeddings(nn.Identity())
    text = model.config.get_text_config()
    language = Decoder(base, CAUSAL, width=embeddings.embedding_dim, image_at=0, window=decoder_window(text))
    kept = {id(parameter): parameter.numel() for slot in (embeddings, language) for parameter in slot.parameters()}
    head, answers = lm_head(model, text), Answers(tokens.tokenizer)
    return LanguageModel(embeddings, language, tokens, tokens.prompt, head, answers, total - sum(kept.values()))


def _random(path: Path, name: str, seed: int) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return AutoModelForCausalLM.from_config(read_pretrained(AutoConfig, path))
        except ValueError as error:
            raise UserError(f"{name!r} in {path} is no causal language model: {error}") from error


def _read(path: Path, name: str) -> Any:
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        read_pretrained(AutoConfig, path)
        check_weights(path)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            path, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except ValueError as error:
        raise UserError(f"{name!r} in {path} is no causal language model: {error}") from error
    except (SafetensorError, OSError, RuntimeError) as error:  # the last: shapes that are not the configuration's
        raise UserError(f"The weights of the language model {name!r} in {path} cannot be read: {error}") from error
    model, report = loaded
    if wrong := {kind: sorted(keys) for kind, keys in report.items() if keys}:
        raise UserError(f"The weights of the language model {name!r} in {path} do not fit its configuration: {wrong}")
    return model
