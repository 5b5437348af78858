"""One turn of a conversation about a picture: what the language model is taught to answer, and whether it does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.backbones.chat import BLANK, Chat
from workbench.backbones.contract import Backbone, Words
from workbench.backbones.family import QUESTION
from workbench.language_models import Tokens
from workbench.policy import Policy

# B turns  S tokens of the longest answer, its end among them  M answer tokens of all turns  E language width  V words


def turn_loss(
    policy: Policy, image_BHWC: Tensor, questions: Sequence[str], answers: Sequence[str], backbone: Backbone
) -> Tensor:
    """Cross-entropy over all answer tokens and ends, as the model's own class has it where it is given labels."""
    return said_loss(policy, image_BHWC, asked(backbone, questions), backbone.answers(answers), backbone.lm_head)


def said_loss(policy: Policy, image_BHWC: Tensor, words: Words, answer: Words, lm_head: nn.Module) -> Tensor:
    """The same for words that are tokenised already: any prompt, any tokens behind it."""
    said = _said(policy, image_BHWC, words, answer, lm_head)
    return functional.cross_entropy(said.logits_MV.float(), said.wanted_M)


@torch.no_grad()
def turn_scores(
    policy: Policy, image_BHWC: Tensor, questions: Sequence[str], answers: Sequence[str], backbone: Backbone
) -> Tensor:
    """`[B]`, 1 where every token of the answer and its end is the likeliest, given the ones before it; else 0."""
    said = _said(policy, image_BHWC, asked(backbone, questions), backbone.answers(answers), backbone.lm_head)
    wrong_M = (said.logits_MV.argmax(dim=-1) != said.wanted_M).float()
    wrong_B = torch.zeros(len(image_BHWC), device=wrong_M.device).index_add_(0, said.turn_M, wrong_M)
    return (wrong_B == 0).float()


def asked(backbone: Backbone, questions: Sequence[str]) -> Words:
    """Questions in the family's chat template, the user's own words in place of the question about an action.

    A prompt of the study's own stays around them.
    """
    ask: Callable[[Sequence[str]], Words]
    match backbone.tokenize:
        case Chat() as chat:
            ask = replace(chat, prompt=_bare(chat.prompt), text=_bare(chat.text))
        case Tokens() as tokens:
            ask = replace(tokens, prompt=_bare(tokens.prompt))
        case _:
            raise AssertionError(f"no backbone tokenizes by {type(backbone.tokenize).__name__}")
    return ask(questions)


def own_head(policy: Policy, backbone: Backbone) -> nn.ModuleList:
    """The head over the vocabulary where its weights are none of the policy's: frozen, to be moved with an objective.

    Empty where they are: what the head says with is then trained, kept and moved as the embeddings are.
    """
    known = {id(parameter) for parameter in policy.parameters()}
    own = [parameter for parameter in backbone.lm_head.parameters() if id(parameter) not in known]
    for parameter in own:
        parameter.requires_grad_(False)
    return nn.ModuleList([backbone.lm_head] if own else [])


@dataclass(frozen=True)
class _Said:
    """What is said and what should be, at the M answer tokens that are no padding; `turn_M` is whose they are."""

    logits_MV: Tensor
    wanted_M: Tensor
    turn_M: Tensor


def _said(policy: Policy, image_BHWC: Tensor, words: Words, answer: Words, lm_head: nn.Module) -> _Said:
    words, answer = words.to(image_BHWC.device), answer.to(image_BHWC.device)
    before_BSE = policy.embeddings(answer.ids_BT[:, :-1].to(next(policy.embeddings.parameters()).device))
    hidden_BSE = policy.read(image_BHWC, words, before_BSE, answer.mask_BT[:, :-1])
    there = next(lm_head.parameters()).device
    real_BS = answer.mask_BT.bool().to(there)
    logits_MV = lm_head(hidden_BSE.to(there)[real_BS])
    return _Said(logits_MV, answer.ids_BT.to(there)[real_BS], real_BS.nonzero()[:, 0])


def _bare(text: str) -> str:
    return text.replace(QUESTION, BLANK)
