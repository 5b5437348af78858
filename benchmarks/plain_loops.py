"""The plain policy trained four ways, each as its library's own guide does it; all return the losses of the steps.

Only for `training_peers.py`. Libraries are imported where they are used: their import is part of what they cost.
"""

from collections.abc import Callable
from typing import Any

import torch
from plain_policy import Job, PlainPolicy, loader, optimiser
from safetensors.torch import save_model


def bare(job: Job) -> list[float]:

    policy = PlainPolicy(job).train()
    adam, schedule = optimiser(job, policy)
    losses = list[float]()
    for batch in loader(job, policy.tokenizer):
        adam.zero_grad()
        loss = policy(**batch)["loss"]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), job.clip)
        adam.step()
        schedule.step()
        losses.append(loss.item())
    save_model(policy, str(job.output / "policy.safetensors"))
    return losses


def accelerate(job: Job) -> list[float]:
    from accelerate import Accelerator

    accelerator, policy = Accelerator(cpu=True), PlainPolicy(job).train()
    model, adam, schedule, batches = accelerator.prepare(policy, *optimiser(job, policy), loader(job, policy.tokenizer))
    losses = list[float]()
    for batch in batches:
        adam.zero_grad()
        loss = model(**batch)["loss"]
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(model.parameters(), job.clip)
        adam.step()
        schedule.step()
        losses.append(loss.item())
    accelerator.save_model(model, str(job.output))
    return losses


def lightning(job: Job) -> list[float]:
    import lightning

    losses = list[float]()

    class Lit(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.policy = PlainPolicy(job)

        def training_step(self, batch: Any, index: int) -> Any:
            loss = self.policy(**batch)["loss"]
            losses.append(loss.item())
            return loss

        def configure_optimizers(self) -> Any:
            adam, schedule = optimiser(job, self.policy)
            return {"optimizer": adam, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    policy = Lit().train()
    fitting = lightning.Trainer(
        max_steps=job.steps, accelerator="cpu", devices=1, gradient_clip_val=job.clip, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False,
    )  # fmt: skip
    fitting.fit(policy, loader(job, policy.policy.tokenizer))
    fitting.save_checkpoint(job.output / "policy.ckpt", weights_only=True)
    return losses


def trainer(job: Job) -> list[float]:
    from transformers import Trainer, TrainingArguments

    class Fed(Trainer):
        """With the order of batches that all have."""

        def get_train_dataloader(self) -> Any:
            return self.accelerator.prepare(loader(job, policy.tokenizer))

    policy = PlainPolicy(job)
    arguments = TrainingArguments(
        output_dir=str(job.output), max_steps=job.steps, max_grad_norm=job.clip, use_cpu=True, report_to="none",
        per_device_train_batch_size=job.batch, disable_tqdm=True, logging_steps=1, save_strategy="no", seed=job.seed,
    )  # fmt: skip
    fed = Fed(model=policy, args=arguments, optimizers=optimiser(job, policy))
    fed.train()
    fed.save_model()
    return [row["loss"] for row in fed.state.log_history if "loss" in row]


PEERS: dict[str, Callable[[Job], list[float]]] = {
    "bare": bare,
    "trainer": trainer,
    "accelerate": accelerate,
    "lightning": lightning,
}
