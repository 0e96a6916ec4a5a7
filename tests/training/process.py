"""One of several processes that train together, for test_processes.py.

python -m torch.distributed.run --nproc-per-node 2 -m tests.training.process START DATA OUT SIZE
"""

import sys
from pathlib import Path

import accelerate
import torch
import transformers

from m3eval.training import gather
from m3eval.training.batches import Batches, length_groups
from m3eval.training.data import Examples, read
from m3eval.training.losses.m3 import M3Loss
from m3eval.training.models import Trained
from m3eval.training.objectives.m3 import M3Objective
from m3eval.training.start import opened
from m3eval.training.trainer import Trainer
from tests.training.small import collation, gradients

SEED, GROUP = 3, 2


def main(start_folder: str, files: str, out: str, size: str) -> None:
    """Writes the gradients of one step, and the batches of two epochs, of this process."""
    torch.set_num_threads(1)
    accelerate.PartialState(cpu=True)
    start, examples = opened(start_folder, None), read([files])
    lengths = [len(e.positives[0].split()) for e in examples]
    groups = length_groups(
        lengths, [e.source for e in examples], [(20, int(size)), (99, int(size))], True
    )
    objective = M3Objective(["dense", "sparse", "multi_vector"], M3Loss())
    model = objective.model(start).double()  # so that rounding hides nothing
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    trainer = Trainer(
        objective,
        start,
        Trained(model, part_size=3, gradient_cache=True),
        Examples(examples, GROUP, SEED),
        Batches(groups, [frozenset([e.query]) for e in examples], gather.processes(), SEED),
        collation(start_folder),
        {},
        transformers.TrainingArguments(
            output_dir=out,
            use_cpu=True,
            report_to=[],
            remove_unused_columns=False,
            accelerator_config={"even_batches": False, "dispatch_batches": False},
        ),
    )
    loader = trainer.get_train_dataloader()
    epochs = []
    for epoch in (0, 1):
        loader.set_epoch(epoch)
        epochs.append([batch["documents"]["ids"][:, 1:6].tolist() for batch in loader])
    loader.set_epoch(0)
    wrapped = trainer.accelerator.prepare(trainer.model)
    batch = next(iter(loader))
    trainer.compute_loss(wrapped, batch).backward()
    found = gradients(model)
    trainer.compute_loss(wrapped, batch).backward()  # a second step: DDP may miss a gradient
    result = {"gradients": found, "epochs": epochs, "loss": trainer.parts["loss"]}
    torch.save(result, Path(out) / f"{gather.processes()}-{gather.rank()}.pt")


if __name__ == "__main__":
    main(*sys.argv[1:])
