"""Idefics3 (arXiv:2408.12637) and SmolVLM (arXiv:2504.05299): SigLIP, a pixel-shuffling connector, Llama.

What is particular to them: the frame is one image, never split into tiles, between the tokens that the processor puts
around an unsplit one. The class drops an all-black image; here every frame is seen.
"""

from dataclasses import replace

from workbench.backbones.decoder import CAUSAL
from workbench.backbones.family import Family, always, taken
from workbench.backbones.towers import HALVES, siglip

IDEFICS3 = Family(
    title="Idefics3",
    paper="arXiv:2408.12637",
    pixels=HALVES,
    vision="model.vision_model",
    embeddings="model.text_model.embed_tokens",
    decoder="model.text_model",
    encode=siglip,
    project=taken("model.connector"),
    read=always(CAUSAL),
    template="<|begin_of_text|>User:<image>{prompt}<end_of_utterance>\nAssistant:",
    placeholder=("<image>", "<fake_token_around_image><global-img><image><fake_token_around_image>"),
)
SMOLVLM = replace(
    IDEFICS3,
    title="SmolVLM",
    paper="arXiv:2504.05299",
    template="<|im_start|>User:<image>{prompt}<end_of_utterance>\nAssistant:",
)
